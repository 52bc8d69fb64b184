import { createRequire } from "node:module";

/** What the benches use of `aws-greengrass-core-sdk`, which has no types. */
export interface OfficialClient {
  appendMessage(streamName: string, payload: Buffer): Promise<number>;
  close(): void;
}

interface OfficialModule {
  readonly StreamManagerClient: new (options: {
    readonly host: string;
    readonly port: number;
    readonly logger: Readonly<Record<"error" | "info" | "debug" | "warn", () => void>>;
    readonly onConnectCb: () => void;
    readonly onErrorCb: (error: Error) => void;
  }) => OfficialClient;
}

function ignore(): void {
  // The client would print every frame.
}

export interface OfficialConnection {
  readonly client: OfficialClient;
  /** Rejects when the connection fails: the client leaves what it was asked without an answer. */
  readonly failed: Promise<never>;
}

/** Connects the client as it comes from npm. */
export async function connectOfficialClient(address: {
  readonly host: string;
  readonly port: number;
}): Promise<OfficialConnection> {
  const sdk = createRequire(import.meta.url)("aws-greengrass-core-sdk/stream-manager") as OfficialModule;
  const logger = { error: ignore, info: ignore, debug: ignore, warn: ignore };
  let fail: (error: Error) => void = ignore;
  const failed = new Promise<never>((_resolve, reject) => (fail = reject));
  failed.catch(ignore);
  let client: OfficialClient | undefined;
  const connected = new Promise<void>((resolve) => {
    client = new sdk.StreamManagerClient({ ...address, logger, onConnectCb: resolve, onErrorCb: fail });
  });
  await Promise.race([connected, failed]);
  return { client: client!, failed };
}
