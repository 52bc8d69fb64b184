import type { StreamDefinition } from "../core/stream-definition.ts";
import type { StreamLedger } from "../core/stream-ledger.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import type { StreamFacts, StreamProgress } from "../stream/stream-channel.ts";
import { IngestLooks } from "./ingest-looks.ts";
import { ProducerSessions } from "./producer-sessions.ts";
import { StreamAccount } from "./stream-account.ts";
import { StreamTraffic } from "./stream-traffic.ts";
import { StreamTurns } from "./stream-turns.ts";

export type StreamLifecycle = "opening" | "open" | "recovering" | "fenced" | "deleting" | "gone";

/** What the stream's worker was told of what its exporters have passed: see export-release.ts. */
export interface ReleaseState {
  toldSequence: number;
  /** A message is on its way to the worker. */
  isTelling: boolean;
  /** The stream is being changed: what its exporters have passed may not be what the new ones have. */
  isHeld: boolean;
}

/** A stream as the main thread knows it. */
export interface StreamEntry {
  readonly streamId: string;
  readonly directory: string;
  definition: StreamDefinition;
  options: StreamOptions;
  /** Which worker owns it, and its number there. A slot is never given to another stream while the worker lives. */
  readonly workerIndex: number;
  slot: number;
  lifecycle: StreamLifecycle;
  /** Why it is fenced. */
  fault: string;
  /** A deletion failed, or its worker died over it: the stream may be gone or not. */
  isDeletionInDoubt?: true;
  /** An update ended without saying which definition is stored: the next worker that opens the stream looks. */
  isDefinitionInDoubt?: true;
  readonly turns: StreamTurns;
  readonly release: ReleaseState;
  /** Whether the exports know it. */
  isExported: boolean;
  readonly account: StreamAccount;
  readonly progress: StreamProgress;
  readonly ledger: StreamLedger;
  readonly facts: StreamFacts;
  readonly producerSessions: ProducerSessions;
  readonly traffic: StreamTraffic;
  readonly ingestLooks: IngestLooks;
  /** Since this process started. */
  appendedMessageCount: number;
  appendedBytes: number;
  /** Messages of batches that had been stored before, and were not stored again. */
  repeatedMessageCount: number;
  refusedCount: number;
}

/** An entry of which nothing is known yet but where it is. */
export function newStreamEntry(
  place: Pick<StreamEntry, "streamId" | "directory" | "definition" | "options" | "workerIndex" | "slot">,
  lifecycle: StreamLifecycle,
): StreamEntry {
  const account = new StreamAccount();
  return {
    ...place,
    lifecycle,
    fault: "",
    turns: new StreamTurns(),
    release: { toldSequence: 0, isTelling: false, isHeld: false },
    isExported: false,
    account,
    get progress() {
      return account.progress;
    },
    get ledger() {
      return account.ledger;
    },
    get facts() {
      return account.facts;
    },
    producerSessions: new ProducerSessions(),
    traffic: new StreamTraffic(),
    ingestLooks: new IngestLooks(),
    appendedMessageCount: 0,
    appendedBytes: 0,
    repeatedMessageCount: 0,
    refusedCount: 0,
  };
}
