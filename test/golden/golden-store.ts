import { createHash } from "node:crypto";
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { MillraceClient } from "../../src/client/index.ts";
import type { EngineProcess } from "../support/engine-process.ts";
import { openWebSocketLink } from "../support/frame-link.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";

/** What a stream of a golden store must give whoever opens it. */
export interface GoldenStream {
  readonly definition: unknown;
  readonly oldestSequence: number;
  readonly newestSequence: number;
  readonly payloadCount: number;
  /** SHA-256 over length and bytes of every payload, in order. */
  readonly payloads: string;
  readonly exportedSequences: readonly number[];
}

export type GoldenContents = Readonly<Record<string, GoldenStream>>;

export const PRODUCER_ID = 4711;
export const PRODUCER_STREAM = "named";
/** Files of a store that belong to one machine or one run. */
const left = new Set(["token", "ballast", "quarantine"]);

/** Everything in a store, as a client sees it. */
export async function readContents(engine: EngineProcess): Promise<GoldenContents> {
  const client = await connect(engine);
  try {
    const contents: Record<string, GoldenStream> = {};
    for (const name of [...(await client.listStreams())].sort()) {
      const { definition, storageStatus, exportStatuses } = await client.describeMessageStream(name);
      const { oldestSequenceNumber, newestSequenceNumber } = storageStatus;
      const hash = createHash("sha256");
      let payloadCount = 0;
      for (let at = oldestSequenceNumber; at <= newestSequenceNumber;) {
        const messages = await client.readMessages(name, { desiredStartSequenceNumber: at, maxMessageCount: 500 });
        for (const { payload } of messages) {
          hash.update(`${payload.length}:`).update(payload);
          payloadCount += 1;
        }
        at = messages.at(-1)!.sequenceNumber + 1;
      }
      contents[name] = {
        definition,
        oldestSequence: oldestSequenceNumber,
        newestSequence: newestSequenceNumber,
        payloadCount,
        payloads: hash.digest("hex"),
        exportedSequences: exportStatuses.map((status) => status.lastExportedSequenceNumber),
      };
    }
    return contents;
  } finally {
    client.close();
  }
}

export function connect(engine: EngineProcess): Promise<MillraceClient> {
  const { port, token } = engine;
  return MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, ...(token && { token }) });
}

/** Sends one batch of the producer that names itself. @returns where it stands, or undefined when it was refused */
export async function sendNamed(
  { port, token }: EngineProcess,
  batch: { readonly sequence: number; readonly messages: readonly string[] },
): Promise<number | undefined> {
  let onFrame: (frame: Buffer) => void = () => undefined;
  const next = () => new Promise<Buffer>((resolve) => (onFrame = resolve));
  const link = await openWebSocketLink({ port, token, onFrame: (frame) => onFrame(frame) });
  try {
    const opened = next();
    link.send(encodeOpenStream({ requestId: 1, name: PRODUCER_STREAM }));
    const { handle } = decodeOpenStreamResult(await opened);
    const answered = next();
    const messages = batch.messages.map((message) => Buffer.from(message));
    const producer = { id: PRODUCER_ID, sequence: batch.sequence };
    link.send(encodeAppendBatch({ handle, requestId: 2, messages, producer }));
    const frame = await answered;
    if (frame[0] !== Operation.AppendBatchResult) throw new Error(`operation ${frame[0]}`);
    let sequence: number | undefined;
    decodeAppendBatchResult(frame, (_, status, firstSequence) => {
      if (status === 0) sequence = firstSequence;
    });
    return sequence;
  } finally {
    link.destroy();
    await link.closed;
  }
}

/** Copies a store without what belongs to one machine, and with the modes that version control does not keep. */
export function copyStore(source: string, target: string): void {
  rmSync(target, { recursive: true, force: true });
  cpSync(source, target, {
    recursive: true,
    filter: (file) => !left.has(path.basename(file)) && !path.basename(file).startsWith("lock-"),
  });
  chmodSync(target, 0o700);
  for (const entry of readdirSync(target, { recursive: true, withFileTypes: true })) {
    chmodSync(path.join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600);
  }
}

/** The golden store of a format, in the source tree. */
export function goldenDirectory(format: number): string {
  return path.join(import.meta.dirname, "..", "..", "..", "test", "golden", `store-${format}`);
}

export function goldenContents(format: number): GoldenContents {
  const file = path.join(goldenDirectory(format), "contents.json");
  return JSON.parse(readFileSync(file, "utf8")) as GoldenContents;
}
