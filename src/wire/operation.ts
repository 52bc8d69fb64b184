/**
 * The first byte of every frame. 0 to 17 are the stream manager's, with one CBOR map as body; from 64 on they are ours, with
 * fixed little-endian layouts.
 */
export const Operation = {
  Unknown: 0,
  Connect: 1,
  CreateMessageStream: 2,
  DeleteMessageStream: 3,
  AppendMessage: 4,
  ReadMessages: 5,
  ConnectResponse: 6,
  CreateMessageStreamResponse: 7,
  DeleteMessageStreamResponse: 8,
  AppendMessageResponse: 9,
  ReadMessagesResponse: 10,
  ListStreams: 11,
  ListStreamsResponse: 12,
  DescribeMessageStream: 13,
  DescribeMessageStreamResponse: 14,
  UpdateMessageStream: 15,
  UpdateMessageStreamResponse: 16,
  UnknownOperationError: 17,
  OpenStream: 64,
  OpenStreamResult: 65,
  AppendBatch: 66,
  AppendBatchResult: 67,
  Subscribe: 68,
  SubscribeResult: 69,
  Messages: 70,
  Credit: 71,
  Unsubscribe: 72,
  DescribeStream: 73,
  DescribeStreamResult: 74,
  ConfigureStream: 75,
  ConfigureStreamResult: 76,
  CreateStream: 77,
  CreateStreamResult: 78,
  CommandExports: 79,
  CommandExportsResult: 80,
} as const;
export type Operation = (typeof Operation)[keyof typeof Operation];

/** Operations from here on are Millrace's own. */
export const OWN_OPERATION_MIN = 64;

const ownRequests: ReadonlySet<number> = new Set([
  Operation.OpenStream,
  Operation.AppendBatch,
  Operation.Subscribe,
  Operation.Credit,
  Operation.Unsubscribe,
  Operation.DescribeStream,
  Operation.ConfigureStream,
  Operation.CreateStream,
  Operation.CommandExports,
]);

/** Whether a client may ask for it in one of our layouts; any other operation is answered as the protocol has it. */
export function isOwnRequest(operation: number): boolean {
  return ownRequests.has(operation);
}

const operationNames = new Map<number, string>(Object.entries(Operation).map(([name, code]) => [code, name]));

/** The name of an operation, or `Operation<n>` for a number this version does not know. */
export function operationName(operation: number): string {
  return operationNames.get(operation) ?? `Operation${operation}`;
}
