import type { BoundedMap } from "../../core/bounded-map.ts";
import { type Clock, wallMs } from "../../core/clock.ts";
import {
  S3_DENIALS_MAX,
  S3_ETAG_CHARACTERS_MAX,
  S3_PART_BYTES_MAX,
  S3_PUT_BYTES_MAX,
  S3_RESTARTS_MAX,
} from "../../core/service-limits.ts";
import type { Storage } from "../../log/storage.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type {
  CancelOutcome,
  ExportRecord,
  SendContext,
  SendFailure,
  SendOutcome,
  StreamNotice,
} from "./destination.ts";
import { targetOf, tryAbort } from "./s3-abort.ts";
import type { S3Api, S3Target } from "./s3-api.ts";
import { classifyS3Error, type S3Fault } from "./s3-errors.ts";
import {
  type InputFile,
  type InputPolicy,
  InputReadError,
  isSameFile,
  openInputFile,
} from "./s3-input-file.ts";
import { evaluateKey } from "./s3-key.ts";
import { multipartEtag, partBytesFor, unquoted } from "./s3-parts.ts";
import { isWanted, S3Status, statusNotices } from "./s3-status.ts";
import { parseS3Task, type S3Task } from "./s3-task.ts";
import {
  isSameMessage,
  readUpload,
  type S3Upload,
  type TaskMessage,
  tokenOf,
  UploadStateError,
  withoutParts,
  writeUpload,
} from "./s3-upload.ts";

type S3Settings = DestinationSettings & { readonly kind: "s3TaskExecutor" };

export interface S3StepOptions {
  readonly api: S3Api;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly policy: InputPolicy;
  readonly partBytesMin: number;
  /** Uploads of which it is known which parts S3 has, by exporter and message. */
  readonly known: BoundedMap<string, true>;
  readonly settings: S3Settings;
  readonly context: SendContext;
}

/**
 * One step of one task: a request to S3 that moves it on, what it means written down durably, then told. Whatever is cut
 * short is found as it was written down, and done again from there.
 */
export class S3TaskStep {
  readonly #options: S3StepOptions;

  constructor(options: S3StepOptions) {
    this.#options = options;
  }

  /** Never rejects but for faults of ours. */
  async run(record: ExportRecord): Promise<SendOutcome> {
    const { storage, context } = this.#options;
    const message: TaskMessage = {
      sequence: record.sequence,
      ingestTimeMs: record.ingestTimeMs,
      rewoundMessages: context.cursor?.rewound.messages ?? 0,
    };
    try {
      const stored = readUpload(storage, context);
      if (stored !== undefined && isSameMessage(stored.message, message)) {
        return stored.final === undefined ? await this.#goOn(stored) : this.#conclude(stored, stored.final);
      }
      const told = stored === undefined ? undefined : await this.#leave(stored);
      return told ?? (await this.#begin(record, message));
    } catch (error) {
      if (error instanceof UploadStateError) return waiting(error.message);
      throw error;
    }
  }

  /** Ends a task that nobody will go on with, by one try. */
  async cancel(stored: S3Upload, reason: string): Promise<CancelOutcome> {
    const fault = await tryAbort(this.#options.api, stored);
    const canceled = this.#notices(stored, { status: S3Status.Canceled, text: reason });
    return {
      notices: [...this.#warnings(stored, fault), ...canceled],
      isEnded: fault?.kind !== "failed",
    };
  }

  /** What was kept is of a task that is not due any more. @returns undefined when there is nothing left to tell of it */
  async #leave(stored: S3Upload): Promise<SendOutcome | undefined> {
    const { context } = this.#options;
    if (stored.final !== undefined) {
      // Without a position what was sent before has its account, or this message would not be sent.
      const isTold = stored.message.sequence < (context.cursor?.position ?? Infinity);
      if (isTold || context.continuation === tokenOf(stored.message)) return undefined;
      return this.#tell(stored, { notices: this.#notices(stored, stored.final) });
    }
    const warnings = await this.#abort(stored);
    const final = {
      status: S3Status.Canceled,
      text: "the task is gone from the stream, or its export moved away",
    };
    const canceled = { ...withoutParts(stored), final };
    this.#write(canceled);
    return this.#tell(canceled, { notices: [...warnings, ...this.#notices(canceled, final)] });
  }

  async #begin(record: ExportRecord, message: TaskMessage): Promise<SendOutcome> {
    const none = { message, isAnnounced: false, partBytes: 0, etags: [], denials: 0, restarts: 0 };
    const parsed = parseS3Task(record.data);
    if ("error" in parsed) return this.#fail({ ...none, task: undefined, key: "" }, parsed.error);
    const { task } = parsed;
    const evaluated = evaluateKey(task.key, this.#nowMs());
    if ("error" in evaluated) return this.#fail({ ...none, task, key: task.key }, evaluated.error);
    return this.#goOn({ ...none, task, key: evaluated.key });
  }

  /** Opens the file and does what is next. */
  async #goOn(upload: S3Upload): Promise<SendOutcome> {
    const { task } = upload;
    if (task === undefined) return this.#fail(upload, "the message is no task");
    const file = await openInputFile(task.inputUrl, this.#options.policy);
    if ("error" in file) return file.isTemporary ? waiting(file.error) : this.#fail(upload, file.error);
    try {
      const { identity } = file;
      const hasParts = upload.uploadId !== undefined && upload.file !== undefined;
      if (hasParts && !isSameFile(upload.file, identity)) {
        return await this.#restart(upload, `${file.path} has changed`);
      }
      return await this.#upload({ ...upload, file: identity }, task, file);
    } catch (error) {
      if (error instanceof UploadStateError) throw error;
      if (error instanceof InputReadError) return await this.#restart(upload, error.message);
      return await this.#judge(upload, classifyS3Error(error));
    } finally {
      await file.close();
    }
  }

  async #upload(upload: S3Upload, task: S3Task, file: InputFile): Promise<SendOutcome> {
    const { sizeBytes } = file.identity;
    const { settings, partBytesMin, api } = this.#options;
    const threshold = Math.min(S3_PUT_BYTES_MAX, Math.max(settings.multipartThresholdBytes, partBytesMin));
    if (sizeBytes > threshold) return this.#uploadParts(upload, task, file);
    // With nobody to tell, and nothing in the key to keep, there is nothing to write down: again would be the same.
    const isSilent = upload.key === task.key && !isWanted(S3Status.Success, settings);
    if (!upload.isAnnounced && !isSilent) return this.#announce(upload);
    const body = { file, range: { offset: 0, sizeBytes }, signal: this.#options.context.recalled };
    await api.put(targetOf(upload, task), body, task.userMetadata);
    if (!(await file.isUnchanged())) return this.#restart(upload, `${file.path} has changed`);
    return isSilent && !isKept(upload) ? accepted(sizeBytes) : this.#succeed(upload, sizeBytes);
  }

  async #uploadParts(upload: S3Upload, task: S3Task, file: InputFile): Promise<SendOutcome> {
    const { api, partBytesMin, known } = this.#options;
    const target = targetOf(upload, task);
    const { uploadId, etags, partBytes } = upload;
    const { sizeBytes } = file.identity;
    if (uploadId === undefined) {
      const planned = partBytesFor(sizeBytes, partBytesMin);
      if (planned > S3_PART_BYTES_MAX) {
        return this.#fail(upload, `${file.path} has ${sizeBytes} bytes, more than S3 takes`);
      }
      const begun = {
        ...upload,
        uploadId: await api.begin(target, task.userMetadata),
        partBytes: planned,
        etags: [],
      };
      known.set(this.#nameOf(upload), true);
      try {
        return this.#announce(begun);
      } catch (error) {
        // What is not written down would stay at S3 for ever.
        await this.#abort(begun);
        throw error;
      }
    }
    const offset = etags.length * partBytes;
    if (offset >= sizeBytes) {
      await api.complete(target, uploadId, etags);
      return this.#succeed(upload, 0);
    }
    const range = { offset, sizeBytes: Math.min(partBytes, sizeBytes - offset) };
    const found = await this.#findPart({ upload, target, uploadId }, { file, range });
    const body = { file, range, signal: this.#options.context.recalled };
    const etag = found ?? (await api.uploadPart(target, uploadId, etags.length + 1, body));
    if (etag.length > S3_ETAG_CHARACTERS_MAX) {
      return this.#fail(
        upload,
        `an ETag has ${etag.length} characters, the maximum is ${S3_ETAG_CHARACTERS_MAX}`,
      );
    }
    if (!(await file.isUnchanged())) return this.#restart(upload, `${file.path} has changed`);
    this.#write({ ...upload, etags: [...etags, etag] });
    return { kind: "progress", sentBytes: found === undefined ? range.sizeBytes : 0 };
  }

  /** The ETag of the next part where S3 has it: it was sent, and nobody heard that it arrived. */
  async #findPart(
    { upload, target, uploadId }: { upload: S3Upload; target: S3Target; uploadId: string },
    { file, range }: { file: InputFile; range: { offset: number; sizeBytes: number } },
  ): Promise<string | undefined> {
    const { api, known } = this.#options;
    const name = this.#nameOf(upload);
    if (known.get(name) === true) return undefined;
    known.set(name, true);
    let part: Awaited<ReturnType<S3Api["findPart"]>>;
    try {
      part = await api.findPart(target, uploadId, upload.etags.length + 1);
    } catch (error) {
      const fault = classifyS3Error(error);
      // To look may not be allowed; then the part is sent again.
      if (fault.kind === "denied" || fault.kind === "failure") return undefined;
      throw error;
    }
    if (part?.sizeBytes !== range.sizeBytes) return undefined;
    const digest = (await file.md5(range)).toString("hex");
    return unquoted(part.etag) === digest ? part.etag : undefined;
  }

  async #judge(upload: S3Upload, fault: S3Fault): Promise<SendOutcome> {
    this.#options.known.delete(this.#nameOf(upload));
    switch (fault.kind) {
      case "failed":
        return fault;
      case "failure":
        return this.#fail(upload, fault.error);
      case "denied":
        return this.#deny(upload, fault.error);
      case "redirect":
        if (upload.region !== undefined) return this.#fail(upload, fault.error);
        this.#write({ ...upload, region: fault.region });
        return { kind: "progress", sentBytes: 0 };
      case "gone":
        return (await this.#isComplete(upload)) ? this.#succeed(upload, 0) : this.#lose(upload, fault.error);
    }
  }

  /** A person may give us the right; until then the tasks behind wait as well, but not for ever. */
  async #deny(upload: S3Upload, error: string): Promise<SendOutcome> {
    const denials = upload.denials + 1;
    if (denials >= S3_DENIALS_MAX) return this.#fail(upload, error);
    this.#write({ ...upload, denials });
    const text = `${error}; tried again ${S3_DENIALS_MAX - denials} times`;
    const notices = denials === 1 ? this.#notices(upload, { status: S3Status.Warning, text }) : [];
    return { ...waiting(error, "slow"), notices };
  }

  /** The bytes so far are not those of the file as it is now, or it cannot be read: the upload begins again. */
  async #restart(upload: S3Upload, reason: string): Promise<SendOutcome> {
    if (upload.restarts >= S3_RESTARTS_MAX) {
      return this.#fail(upload, `${reason}; given up after ${S3_RESTARTS_MAX + 1} tries`);
    }
    const warnings = await this.#abort(upload);
    this.#write({ ...withoutParts(upload), file: undefined, restarts: upload.restarts + 1 });
    const text = `${reason}: the upload begins again`;
    const notices = [...warnings, ...this.#notices(upload, { status: S3Status.Warning, text })];
    return { ...waiting(reason), notices };
  }

  /** S3 does not have what it had: somebody, or a rule of the bucket, has aborted the upload. */
  #lose(upload: S3Upload, error: string): Promise<SendOutcome> {
    return this.#restart(withoutParts(upload), `S3 does not know the upload any more (${error})`);
  }

  /** Whether the object is there, put together by a request whose answer nobody heard. To look may not be allowed. */
  async #isComplete(upload: S3Upload): Promise<boolean> {
    const { file, task, etags, partBytes } = upload;
    if (file === undefined || task === undefined || etags.length === 0) return false;
    if (etags.length * partBytes < file.sizeBytes) return false;
    try {
      const etag = await this.#options.api.etagOf(targetOf(upload, task));
      return etag !== undefined && unquoted(etag) === multipartEtag(etags);
    } catch {
      return false;
    }
  }

  /** Removes the parts of an upload by one try. @returns what there is to tell if they stay */
  async #abort(upload: S3Upload): Promise<StreamNotice[]> {
    return this.#warnings(upload, await tryAbort(this.#options.api, upload));
  }

  #warnings(upload: S3Upload, fault: S3Fault | undefined): StreamNotice[] {
    if (fault === undefined) return [];
    const bucket = upload.task?.bucket ?? "";
    const text = `the parts of upload ${upload.uploadId ?? ""} of ${upload.key} stay in bucket ${bucket}: ${fault.error}`;
    return this.#notices(upload, { status: S3Status.Warning, text });
  }

  /** The upload has begun: written down, then told. */
  #announce(upload: S3Upload): SendOutcome {
    this.#write({ ...upload, isAnnounced: true });
    const text = `upload to bucket ${upload.task?.bucket ?? ""}, key ${upload.key}`;
    const told = { status: S3Status.InProgress, text };
    const notices = upload.isAnnounced ? [] : this.#notices(upload, told);
    return { kind: "progress", sentBytes: 0, notices };
  }

  #succeed(upload: S3Upload, sentBytes: number): SendOutcome {
    const text = `uploaded to bucket ${upload.task?.bucket ?? ""}, key ${upload.key}`;
    const final = { status: S3Status.Success, text };
    const done = { ...withoutParts(upload), final };
    this.#write(done);
    return this.#tell(done, { sentBytes, notices: this.#notices(done, final) });
  }

  async #fail(upload: S3Upload, text: string): Promise<SendOutcome> {
    const warnings = await this.#abort(upload);
    const final = { status: S3Status.Failure, text };
    const failed = { ...withoutParts(upload), final };
    this.#write(failed);
    return this.#tell(failed, { notices: [...warnings, ...this.#notices(failed, final)] });
  }

  /** A step of its own, so that what is told is stored before the message has its account. */
  #tell(
    upload: S3Upload,
    { sentBytes = 0, notices }: { sentBytes?: number; notices: readonly StreamNotice[] },
  ): SendOutcome {
    this.#options.known.delete(this.#nameOf(upload));
    return { kind: "progress", sentBytes, continuation: tokenOf(upload.message), notices };
  }

  /** The task has ended, and whoever wanted to hear of it has. A process that died in between tells it again. */
  #conclude(upload: S3Upload, final: NonNullable<S3Upload["final"]>): SendOutcome {
    const { context } = this.#options;
    const notices = this.#notices(upload, final);
    if (notices.length > 0 && context.continuation !== tokenOf(upload.message)) {
      return this.#tell(upload, { notices });
    }
    if (final.status === S3Status.Success) return accepted(0);
    const { text: error } = final;
    return {
      kind: "answered",
      failed: [],
      refused: [{ index: 0, error, isMalformed: true }],
      error,
      requestBytes: 0,
    };
  }

  #notices(
    { message, task }: S3Upload,
    { status, text }: { status: S3Status; text: string },
  ): StreamNotice[] {
    const { settings, context } = this.#options;
    const { statusLevel, statusStreamName } = settings;
    const { identifier, streamName } = context;
    return statusNotices(
      { statusLevel, statusStreamName, identifier, streamName },
      { status, text, sequence: message.sequence, task, timeMs: this.#nowMs() },
    );
  }

  #nameOf({ message }: S3Upload): string {
    const { streamId, exporterId } = this.#options.context;
    return `${streamId}/${exporterId}/${tokenOf(message)}`;
  }

  #write(upload: S3Upload): void {
    const { storage, context, settings } = this.#options;
    const { statusLevel, statusStreamName } = settings;
    const audience = { identifier: context.identifier, statusLevel, statusStreamName };
    writeUpload(storage, context, { ...upload, audience });
  }

  #nowMs(): number {
    return wallMs(this.#options.clock);
  }
}

/** `requestBytes` went out with the request that made it so. */
function accepted(requestBytes: number): SendOutcome {
  return { kind: "answered", failed: [], error: "", requestBytes };
}

/** Whether something of the task was written down: without its end beside it, that would look like a task given up. */
function isKept({ isAnnounced, region, denials, restarts }: S3Upload): boolean {
  return isAnnounced || region !== undefined || denials > 0 || restarts > 0;
}

/** This exporter alone waits. */
function waiting(error: string, pace: SendFailure["pace"] = "backoff"): SendFailure {
  return { kind: "failed", scope: "exporter", pace, timedOut: false, error };
}
