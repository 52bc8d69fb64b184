import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { SendOutcome } from "../../src/export/destinations/destination.ts";
import { AwsModelServer, type InjectedError, type ModelService, ServiceError } from "./aws-model-server.ts";
import { findModel, requireModel, type ServiceModel } from "./aws-service-model.ts";
import type { TestCertificate } from "./certificates.ts";
import type { CleanUp } from "./program.ts";

/** What the SDK signs with in tests. */
const TEST_SECRET = "test";

export interface AnalyticsMessage {
  readonly channel: string;
  readonly messageId: string;
  readonly payload: Buffer;
}

export interface SiteWiseEntryInput {
  readonly entryId: string;
  readonly assetId?: string;
  readonly propertyId?: string;
  readonly propertyAlias?: string;
  readonly propertyValues: {
    readonly value: Readonly<Record<string, unknown>>;
    readonly timestamp: { readonly timeInSeconds: number; readonly offsetInNanos?: number };
    readonly quality?: string;
  }[];
}

const ANALYTICS = ["iotanalytics", "2017-11-27"] as const;
const SITEWISE = ["iotsitewise", "2019-12-02"] as const;

/** Whether the models are installed that the servers check requests against. */
export function hasModels(): boolean {
  return findModel(...ANALYTICS) !== undefined && findModel(...SITEWISE) !== undefined;
}

/** Undefined, and the test skipped, where the models are not installed. */
export function startAnalytics(t: TestContext): Promise<AwsModelServer<AnalyticsMessage>> | undefined {
  return requireModel(t, ...ANALYTICS) && serveAnalytics(t);
}

export function startSiteWise(t: TestContext): Promise<AwsModelServer<SiteWiseEntryInput>> | undefined {
  return requireModel(t, ...SITEWISE) && serveSiteWise(t);
}

/** For where `hasModels` was asked. */
export function serveAnalytics(t: CleanUp, tls?: TestCertificate): Promise<AwsModelServer<AnalyticsMessage>> {
  return start(t, analytics(findModel(...ANALYTICS)!), tls);
}

export function serveSiteWise(
  t: CleanUp,
  tls?: TestCertificate,
): Promise<AwsModelServer<SiteWiseEntryInput>> {
  return start(t, siteWise(findModel(...SITEWISE)!), tls);
}

/** What the SDK's own chain reads, to find a test server. */
export function environmentFor({ url }: { readonly url: string }): Readonly<Record<string, string>> {
  return {
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: TEST_SECRET,
    AWS_REGION: "us-east-1",
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    AWS_ENDPOINT_URL_IOTANALYTICS: url,
    AWS_ENDPOINT_URL_IOTSITEWISE: url,
  };
}

async function start<Entry>(
  t: CleanUp,
  service: ModelService<Entry>,
  tls: TestCertificate | undefined,
): Promise<AwsModelServer<Entry>> {
  const server = new AwsModelServer(service, tls);
  await server.listen();
  t.after(() => server.close());
  return server;
}

function analytics(model: ServiceModel): ModelService<AnalyticsMessage> {
  return {
    ...{ model, operation: "BatchPutMessage", secretAccessKey: TEST_SECRET },
    entriesOf(input) {
      const { channelName: channel, messages } = input as {
        channelName: string;
        messages: { messageId: string; payload: string }[];
      };
      return messages.map(({ messageId, payload }) => ({
        channel,
        messageId,
        payload: Buffer.from(payload, "base64"),
      }));
    },
    judge(entries) {
      if (entries.length < 1 || entries.length > 100) throw invalid(`${entries.length} messages`);
      assertUnique(entries.map(({ messageId }) => messageId));
      return entries.flatMap(({ payload: { length } }, index) =>
        length > 131_072 ? [{ index, code: "InvalidRequestException", message: `${length} bytes` }] : [],
      );
    },
    replyTo: (entries, errors) => ({
      batchPutMessageErrorEntries: errors.map(
        ({ index, code: errorCode, message: errorMessage = "injected" }) => ({
          ...{ messageId: entries[index]!.messageId, errorCode, errorMessage },
        }),
      ),
    }),
  };
}

const PAST_S_MAX = 7 * 86_400;
const FUTURE_S_MAX = 600;

function siteWise(model: ServiceModel): ModelService<SiteWiseEntryInput> {
  return {
    ...{ model, operation: "BatchPutAssetPropertyValue", secretAccessKey: TEST_SECRET },
    entriesOf: (input) => (input as { entries: SiteWiseEntryInput[] }).entries,
    judge(entries) {
      if (entries.length < 1 || entries.length > 10) throw invalid(`${entries.length} entries`);
      assertUnique(entries.map(({ entryId }) => entryId));
      const points = entries.flatMap(pointsOf);
      return entries.flatMap((entry, index) => judgeEntry(entry, index, points));
    },
    replyTo: (entries, errors) => ({
      errorEntries: errors.map(({ index, code: errorCode, message: errorMessage = "injected" }) => ({
        entryId: entries[index]!.entryId,
        errors: [{ errorCode, errorMessage, timestamps: [] }],
      })),
    }),
  };
}

/** `points` are those of the whole request. */
function judgeEntry(entry: SiteWiseEntryInput, index: number, points: readonly string[]): InjectedError[] {
  const { propertyValues, assetId, propertyId, propertyAlias } = entry;
  const isNamed = propertyAlias !== undefined || (assetId !== undefined && propertyId !== undefined);
  const hasValues = propertyValues.every(({ value }) => Object.keys(value).length === 1);
  if (!isNamed || !hasValues || propertyValues.length < 1 || propertyValues.length > 10) {
    return [{ index, code: "InvalidRequestException" }];
  }
  const nowS = Date.now() / 1000;
  const isOut = propertyValues.some(
    ({ timestamp: { timeInSeconds } }) =>
      timeInSeconds < nowS - PAST_S_MAX || timeInSeconds > nowS + FUTURE_S_MAX,
  );
  if (isOut) return [{ index, code: "TimestampOutOfRangeException" }];
  const isAlone = pointsOf(entry).every((point) => points.filter((other) => other === point).length === 1);
  return isAlone ? [] : [{ index, code: "ConflictingOperationException" }];
}

/** The server knows what the alias `/of/asset` stands for. */
function pointsOf({ assetId, propertyId, propertyAlias, propertyValues }: SiteWiseEntryInput): string[] {
  const isKnown = propertyAlias === undefined || propertyAlias === KNOWN_ALIAS.propertyAlias;
  const { assetId: asset, propertyId: property } =
    propertyAlias === undefined ? { assetId, propertyId } : KNOWN_ALIAS;
  const name = isKnown ? `${asset} ${property}` : propertyAlias;
  return propertyValues.map(
    ({ timestamp: { timeInSeconds, offsetInNanos = 0 } }) => `${name} ${timeInSeconds} ${offsetInNanos}`,
  );
}

export const KNOWN_ALIAS = {
  propertyAlias: "/of/asset",
  assetId: "11111111-2222-3333-4444-555555555555",
  propertyId: "66666666-7777-8888-9999-aaaaaaaaaaaa",
};

function assertUnique(ids: readonly string[]): void {
  if (new Set(ids).size < ids.length) throw invalid(`an id is there twice: ${ids.join(", ")}`);
}

function invalid(message: string): ServiceError {
  return new ServiceError("InvalidRequestException", message);
}

/** Sets the variables of this process, and takes them back after the test. */
export function useEnvironment(t: CleanUp, environment: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(environment)) {
    const before = process.env[name];
    process.env[name] = value;
    t.after(() => {
      if (before === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before;
    });
  }
}

/** What became of a request, without what it says its bodies took, which has to be what arrived. */
export async function sendCounted(
  server: Pick<AwsModelServer<unknown>, "bodyBytes">,
  send: () => Promise<SendOutcome>,
): Promise<SendOutcome> {
  const before = server.bodyBytes;
  const { requestBytes, ...outcome } = await send();
  assert.equal(requestBytes, server.bodyBytes - before);
  return outcome;
}
