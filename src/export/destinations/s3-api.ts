import type * as Sdk from "@aws-sdk/client-s3";
import { EXPORT_PROGRESS_MS_MAX } from "../../core/limits.ts";
import { S3_ABORT_MS_MAX, S3_COMPLETE_MS_MAX } from "../../core/service-limits.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import { awsClientSettings } from "./aws-client-settings.ts";
import { importOptional } from "./optional-package.ts";
import type { InputFile, InputRange } from "./s3-input-file.ts";

/** Where an object is to be. */
export interface S3Target {
  readonly bucket: string;
  readonly key: string;
  /** Undefined for the one of this machine's settings. */
  readonly region?: string | undefined;
}

export interface S3Body {
  readonly file: InputFile;
  readonly range: InputRange;
  /** Ends the request. */
  readonly signal?: AbortSignal | undefined;
}

/** The requests to S3 that tasks are made of, one each, without retries. All of them reject with the SDK's error. */
export class S3Api {
  readonly #sdk: typeof Sdk;
  readonly #environment: DestinationEnvironment;
  /** By region and by how long an answer may take. */
  readonly #clients = new Map<string, Sdk.S3Client>();

  private constructor(sdk: typeof Sdk, environment: DestinationEnvironment) {
    this.#sdk = sdk;
    this.#environment = environment;
  }

  /** Imports the SDK. @throws {MillraceError} INVALID_REQUEST when it is not installed */
  static async load(environment: DestinationEnvironment): Promise<S3Api> {
    const name = "@aws-sdk/client-s3";
    const sdk = await importOptional(() => import("@aws-sdk/client-s3"), { name, service: "S3" });
    return new S3Api(sdk, environment);
  }

  async put(
    target: S3Target,
    body: S3Body,
    metadata: Readonly<Record<string, string>> | undefined,
  ): Promise<void> {
    await this.#withBody(body, (content, abortSignal) => {
      const command = new this.#sdk.PutObjectCommand({
        ...named(target),
        ...content,
        Metadata: { ...metadata },
      });
      return this.#client(target).send(command, { abortSignal });
    });
  }

  /** @returns the upload's id */
  async begin(target: S3Target, metadata: Readonly<Record<string, string>> | undefined): Promise<string> {
    const command = new this.#sdk.CreateMultipartUploadCommand({
      ...named(target),
      Metadata: { ...metadata },
    });
    const { UploadId } = await this.#client(target).send(command);
    return given(UploadId, "CreateMultipartUpload", "an upload id");
  }

  /** @returns the part's ETag */
  async uploadPart(target: S3Target, uploadId: string, partNumber: number, body: S3Body): Promise<string> {
    const { ETag } = await this.#withBody(body, (content, abortSignal) => {
      const part = { ...named(target), UploadId: uploadId, PartNumber: partNumber, ...content };
      return this.#client(target).send(new this.#sdk.UploadPartCommand(part), { abortSignal });
    });
    return given(ETag, "UploadPart", "an ETag");
  }

  /** A part that S3 has; undefined if it has not. */
  async findPart(
    target: S3Target,
    uploadId: string,
    partNumber: number,
  ): Promise<{ readonly etag: string; readonly sizeBytes: number } | undefined> {
    const command = new this.#sdk.ListPartsCommand({
      ...named(target),
      UploadId: uploadId,
      PartNumberMarker: String(partNumber - 1),
      MaxParts: 1,
    });
    const { Parts = [] } = await this.#client(target).send(command);
    const part = Parts.find(({ PartNumber }) => PartNumber === partNumber);
    return part?.ETag === undefined || part.Size === undefined
      ? undefined
      : { etag: part.ETag, sizeBytes: part.Size };
  }

  async complete(target: S3Target, uploadId: string, etags: readonly string[]): Promise<void> {
    const Parts = etags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }));
    const command = new this.#sdk.CompleteMultipartUploadCommand({
      ...named(target),
      UploadId: uploadId,
      MultipartUpload: { Parts },
    });
    await this.#client(target, S3_COMPLETE_MS_MAX).send(command);
  }

  async abort(target: S3Target, uploadId: string): Promise<void> {
    const command = new this.#sdk.AbortMultipartUploadCommand({ ...named(target), UploadId: uploadId });
    await this.#client(target, S3_ABORT_MS_MAX).send(command);
  }

  /** The object's ETag. */
  async etagOf(target: S3Target): Promise<string | undefined> {
    return (await this.#client(target).send(new this.#sdk.HeadObjectCommand(named(target)))).ETag;
  }

  close(): void {
    for (const client of this.#clients.values()) client.destroy();
    this.#clients.clear();
  }

  #client({ region }: S3Target, progressMsMax = EXPORT_PROGRESS_MS_MAX): Sdk.S3Client {
    const name = `${region ?? ""} ${progressMsMax}`;
    let client = this.#clients.get(name);
    if (client === undefined) {
      client = new this.#sdk.S3Client({
        ...awsClientSettings({ environment: this.#environment, progressMsMax }),
        ...(region === undefined ? {} : { region }),
        forcePathStyle: this.#environment.s3ForcePathStyle,
        // Content-MD5 says more to more servers; the SDK's own checksums make some store the trailer with the content.
        requestChecksumCalculation: "WHEN_REQUIRED",
        responseChecksumValidation: "WHEN_REQUIRED",
        expectContinueHeader: false,
      });
      this.#clients.set(name, client);
    }
    return client;
  }

  /** Sends a range of a file; the server refuses what does not have its digest. What fails in the file is thrown as it is. */
  async #withBody<T>(
    { file, range, signal }: S3Body,
    send: (
      content: { readonly Body: InputBody; readonly ContentLength: number; readonly ContentMD5: string },
      abortSignal: AbortSignal,
    ) => Promise<T>,
  ): Promise<T> {
    const ContentMD5 = (await file.md5(range)).toString("base64");
    const Body = range.sizeBytes === 0 ? new Uint8Array(0) : file.stream(range);
    const failed = new AbortController();
    const abort = (): void => failed.abort();
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    let failure: Error | undefined;
    if (!(Body instanceof Uint8Array)) {
      // The request would wait for the rest of its body for ever.
      Body.once("error", (error) => {
        failure = error;
        failed.abort();
      });
    }
    try {
      return await send({ Body, ContentLength: range.sizeBytes, ContentMD5 }, failed.signal);
    } catch (error) {
      // Where the answer came before all was sent, nobody else may get the connection.
      failed.abort();
      throw failure ?? error;
    } finally {
      signal?.removeEventListener("abort", abort);
      if (!(Body instanceof Uint8Array)) Body.destroy();
    }
  }
}

type InputBody = Uint8Array | ReturnType<InputFile["stream"]>;

function named({ bucket, key }: S3Target): { readonly Bucket: string; readonly Key: string } {
  return { Bucket: bucket, Key: key };
}

function given(value: string | undefined, request: string, what: string): string {
  if (value === undefined || value === "") throw new Error(`${request} was answered without ${what}`);
  return value;
}
