/** Status numbers on the wire. 0 to 18 are the stream manager's; 64 and up are ours and appear on our own operations only. */
export const StatusCode = {
  Success: 0,
  UnknownFailure: 1,
  Unauthorized: 2,
  InvalidRequest: 3,
  RequestPayloadTooLarge: 4,
  ResourceNotFound: 5,
  ServerTimeout: 6,
  ResponsePayloadTooLarge: 7,
  UnsupportedConnectVersion: 8,
  UnexpectedOperation: 9,
  UnsupportedProtocolVersion: 10,
  InvalidProtocolVersion: 11,
  FailedToConnect: 12,
  NotEnoughMessages: 13,
  MessageStoreReadError: 14,
  OutOfMemoryError: 15,
  UpdateFailed: 16,
  UpdateNotAllowed: 17,
  UnknownOperation: 18,
  StreamFull: 64,
  UnknownOutcome: 65,
  StorageReadOnly: 66,
  SequenceGap: 67,
  UnknownHandle: 68,
  ServerBusy: 69,
} as const;
export type StatusCode = (typeof StatusCode)[keyof typeof StatusCode];

const statusNames = new Map<number, string>(Object.entries(StatusCode).map(([name, code]) => [code, name]));

/** The name of a status, or `Status<n>` for a number this version does not know. */
export function statusName(status: number): string {
  return statusNames.get(status) ?? `Status${status}`;
}
