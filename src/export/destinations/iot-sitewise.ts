import type { BatchPutAssetPropertyValueCommand, IoTSiteWiseClient } from "@aws-sdk/client-iotsitewise";
import { assert } from "../../core/assert.ts";
import { MillraceError, textOf } from "../../core/errors.ts";
import { SITEWISE_ENTRIES_MAX, SITEWISE_ENTRY_BYTES_MAX } from "../../core/service-limits.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import { classifyAwsError, type RequestFailure } from "./aws-errors.ts";
import { BODY_COUNT_STEP, BodyCount } from "./body-count.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  RefusedRecord,
  SendOutcome,
} from "./destination.ts";
import { type EntryError, judgeEntries, outcomeOfEntries } from "./entry-errors.ts";
import { importOptional } from "./optional-package.ts";
import { conflictsWithItself, cutIntoCalls, entryIdsOf, type PlacedEntry } from "./sitewise-calls.ts";
import { parseSiteWiseEntry } from "./sitewise-entry.ts";

const limits: DestinationLimits = {
  recordsMax: SITEWISE_ENTRIES_MAX,
  requestBytesMax: SITEWISE_ENTRIES_MAX * SITEWISE_ENTRY_BYTES_MAX,
  recordBytesMax: SITEWISE_ENTRY_BYTES_MAX,
  recordOverheadBytes: 0,
};

const CONFLICT = "ConflictingOperationException";

export interface IotSiteWiseOptions {
  readonly environment?: DestinationEnvironment;
  readonly progressMsMax?: number;
}

/** By index in the request; entries without errors were accepted. */
type EntryErrors = ReadonlyMap<number, readonly EntryError[]>;

/** The service judged entry by entry, or did not come so far. */
type CallAnswer =
  | { readonly kind: "judged"; readonly errors: EntryErrors }
  | { readonly kind: "unjudged"; readonly outcome: RequestFailure };

/**
 * AWS IoT SiteWise: one BatchPutAssetPropertyValue per batch, or more where values would conflict; each message is one
 * PutAssetPropertyValueEntry in JSON. Region and endpoint come from the SDK's own chain and variables, credentials as
 * aws-client-settings.ts says.
 */
export class IotSiteWiseDestination implements Destination {
  readonly #client: IoTSiteWiseClient;
  readonly #batchPut: typeof BatchPutAssetPropertyValueCommand;

  private constructor(client: IoTSiteWiseClient, batchPut: typeof BatchPutAssetPropertyValueCommand) {
    this.#client = client;
    this.#batchPut = batchPut;
  }

  /** Imports the SDK now and not before. @throws {MillraceError} INVALID_REQUEST where that package is not installed */
  static async load(options: IotSiteWiseOptions): Promise<IotSiteWiseDestination> {
    const name = "@aws-sdk/client-iotsitewise";
    const { IoTSiteWiseClient, BatchPutAssetPropertyValueCommand } = await importOptional(
      () => import("@aws-sdk/client-iotsitewise"),
      { name, service: "IoT SiteWise" },
    );
    const { awsClientSettings } = await import("./aws-client-settings.ts");
    const client = new IoTSiteWiseClient(awsClientSettings(options));
    leaveCustomEndpointsAsTheyAre(client);
    return new IotSiteWiseDestination(client, BatchPutAssetPropertyValueCommand);
  }

  limitsFor(): DestinationLimits {
    return limits;
  }

  async send(settings: DestinationSettings, records: readonly ExportRecord[]): Promise<SendOutcome> {
    assert(settings.kind === "IotSitewise", `a ${settings.kind} batch cannot go to IoT SiteWise`);
    const sent = new BodyCount();
    const outcome = await this.#putAll(records, sent);
    return { ...outcome, requestBytes: sent.bytes };
  }

  close(): void {
    this.#client.destroy();
  }

  async #putAll(records: readonly ExportRecord[], sent: BodyCount): Promise<SendOutcome> {
    const { entries, malformed } = parseAll(records);
    const errors = new Map<number, readonly EntryError[]>();
    const calls = cutIntoCalls(entries);
    for (const [position, call] of calls.entries()) {
      const answer = await this.#put(call, sent);
      if (answer.kind === "unjudged" && position === 0) return answer.outcome;
      if (answer.kind === "unjudged") {
        const unsent = calls.slice(position).flat();
        return judge(entries.length, { errors, malformed, unsent, why: answer.outcome.error });
      }
      for (const [index, list] of answer.errors) errors.set(index, list);
      const { failed, error } = judgeEntries(answer.errors);
      // What is sent again must not come behind a later value of the same time, and overwrite that one.
      if (failed.length > 0) {
        return judge(entries.length, {
          errors,
          malformed,
          unsent: calls.slice(position + 1).flat(),
          why: error,
        });
      }
    }
    return judge(entries.length, { errors, malformed, unsent: [], why: "" });
  }

  /** One call; and where entries are told to be in each other's way, one more for each of those. */
  async #put(call: readonly PlacedEntry[], sent: BodyCount): Promise<CallAnswer> {
    const answer = await this.#putOnce(call, sent);
    if (answer.kind === "unjudged") return answer;
    const errors = new Map(answer.errors);
    for (const placed of call) {
      const list = errors.get(placed.index);
      if (list?.some(({ code }) => code === CONFLICT) !== true) continue;
      // An alias and ids can name one property, which nobody but the service knows: in a call of its own it conflicts no more.
      const alone = call.length === 1 ? answer : await this.#putOnce([placed], sent);
      if (alone.kind === "unjudged") break;
      errors.delete(placed.index);
      const own = alone.errors.get(placed.index);
      if (own === undefined) continue;
      const judged = selfConflict(placed, own) ?? own;
      errors.set(placed.index, judged);
      // One behind it may be of the same property and time, and must not be sent before it.
      if (judgeEntries(new Map([[placed.index, judged]])).failed.length > 0) break;
    }
    return { kind: "judged", errors };
  }

  async #putOnce(call: readonly PlacedEntry[], sent: BodyCount): Promise<CallAnswer> {
    const ids = entryIdsOf(call);
    const entries = call.map(({ entry }, position) => ({ ...entry, entryId: ids[position] }));
    const command = new this.#batchPut({ entries });
    command.middlewareStack.add(sent.middleware, BODY_COUNT_STEP);
    try {
      const { errorEntries } = await this.#client.send(command);
      return read(call, ids, errorEntries);
    } catch (thrown) {
      if (thrown instanceof Error && thrown.name === CONFLICT) {
        const error = { code: CONFLICT, message: thrown.message };
        return { kind: "judged", errors: new Map(call.map(({ index }) => [index, [error]])) };
      }
      return { kind: "unjudged", outcome: classifyAwsError(thrown, { service: "IoT SiteWise" }) };
    }
  }
}

/** The SDK puts `data.` before the host, also before one that somebody named as the whole of it. */
function leaveCustomEndpointsAsTheyAre({ config, middlewareStack }: IoTSiteWiseClient): void {
  middlewareStack.addRelativeTo(
    <Call, Answer>(next: (call: Call) => Promise<Answer>, context: { endpointV2?: { url: URL } }) =>
      async (call: Call) => {
        const [Region, UseDualStack, UseFIPS] = await Promise.all([
          config.region(),
          config.useDualstackEndpoint(),
          config.useFipsEndpoint(),
        ]);
        const { url } = config.endpointProvider({ Region, UseDualStack, UseFIPS });
        config.disableHostPrefix = context.endpointV2?.url.host !== url.host;
        return next(call);
      },
    { name: "millraceHostPrefix", relation: "after", toMiddleware: "endpointV2Middleware" },
  );
}

function parseAll(records: readonly ExportRecord[]): { entries: PlacedEntry[]; malformed: RefusedRecord[] } {
  const entries: PlacedEntry[] = [];
  const malformed: RefusedRecord[] = [];
  for (const [index, { data }] of records.entries()) {
    try {
      entries.push({ index, entry: parseSiteWiseEntry(data) });
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      malformed.push({ index, error: textOf(error), isMalformed: true });
    }
  }
  return { entries, malformed };
}

interface ErrorEntry {
  readonly entryId: string | undefined;
  readonly errors:
    | readonly { readonly errorCode: string | undefined; readonly errorMessage: string | undefined }[]
    | undefined;
}

function read(
  call: readonly PlacedEntry[],
  ids: readonly string[],
  errorEntries: readonly ErrorEntry[] | undefined,
): CallAnswer {
  // The list is there even where it is empty: what gives none is something else in the service's place.
  if (errorEntries === undefined)
    return unreadable("BatchPutAssetPropertyValue was answered without errorEntries");
  const errors = new Map<number, EntryError[]>();
  for (const { entryId, errors: given = [] } of errorEntries) {
    const placed = call[ids.findIndex((id) => id === entryId)];
    if (placed === undefined) {
      return unreadable(`BatchPutAssetPropertyValue answered for entry "${entryId}", which was not sent`);
    }
    const list = given.map(({ errorCode: code = "", errorMessage: message = "" }) => ({ code, message }));
    const nameless = { code: "", message: "the entry failed without an error" };
    errors.set(placed.index, [
      ...(errors.get(placed.index) ?? []),
      ...(list.length === 0 ? [nameless] : list),
    ]);
  }
  return { kind: "judged", errors };
}

function unreadable(error: string): CallAnswer {
  const outcome = { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error } as const;
  return { kind: "unjudged", outcome };
}

/** Nobody else is in the way of an entry that conflicts with itself, so that it always will. */
function selfConflict(
  { entry }: PlacedEntry,
  errors: readonly EntryError[],
): readonly EntryError[] | undefined {
  const isPermanent = conflictsWithItself(entry) && errors.some(({ code }) => code === CONFLICT);
  if (!isPermanent) return undefined;
  return [{ code: "InvalidRequestException", message: "two values of the entry have the same timestamp" }];
}

interface Judged {
  readonly errors: EntryErrors;
  readonly malformed: readonly RefusedRecord[];
  /** Left to be sent again, because of `why`. */
  readonly unsent: readonly PlacedEntry[];
  readonly why: string;
}

function judge(entryCount: number, { errors, malformed, unsent, why }: Judged): SendOutcome {
  const judgement = judgeEntries(errors);
  return outcomeOfEntries(entryCount - unsent.length, {
    ...judgement,
    failed: [...judgement.failed, ...unsent.map(({ index }) => index)],
    refused: [...judgement.refused, ...malformed].sort((one, other) => one.index - other.index),
    error: why,
  });
}
