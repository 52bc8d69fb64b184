import type { StatusLevel } from "../../core/stream-definition.ts";
import type { Storage } from "../../log/storage.ts";
import type { CursorPlace } from "../cursor-file.ts";
import { readUploadFile, writeUploadFile } from "../upload-file.ts";
import type { InputIdentity } from "./s3-input-file.ts";
import type { S3Status } from "./s3-status.ts";
import type { S3Task } from "./s3-task.ts";

/** A task's message, so that what is kept of one never passes for another's. */
export interface TaskMessage {
  readonly sequence: number;
  /** Numbers of a `Memory` stream come again after a restart. */
  readonly ingestTimeMs: number;
  /** Grows with each start that was moved back: the same message is a task again. */
  readonly rewoundMessages: number;
}

/** How far a task has come. */
export interface S3Upload {
  readonly message: TaskMessage;
  /** Undefined for a message that is no task. */
  readonly task: S3Task | undefined;
  /** With its placeholders replaced, once for all tries. */
  readonly key: string;
  /** Of the bucket, once S3 has told that it is in another one than this machine's settings say. */
  readonly region?: string;
  /** As it was when the upload began. */
  readonly file?: InputIdentity | undefined;
  readonly isAnnounced: boolean;
  /** Of a multipart upload that was begun. */
  readonly uploadId?: string | undefined;
  readonly partBytes: number;
  /** Of the parts that S3 has, from the first on. */
  readonly etags: readonly string[];
  readonly denials: number;
  readonly restarts: number;
  /** Nothing more is to be done than to tell of it. */
  readonly final?: { readonly status: S3Status; readonly text: string };
  /** Who wants to hear of it, for whoever ends it when the exporter is gone. */
  readonly audience?: UploadAudience | undefined;
}

export interface UploadAudience {
  readonly identifier: string;
  readonly statusLevel: StatusLevel;
  readonly statusStreamName?: string | undefined;
}

const VERSION = 1;

/** The state could not be kept: the step is done again. */
export class UploadStateError extends Error {}

/** @throws the system's error when this process can open no more files */
export function readUpload(storage: Storage, place: CursorPlace): S3Upload | undefined {
  const content = readUploadFile(storage, place);
  if (content === undefined) return undefined;
  // A checksum vouches for the content: only another version of this program may have written something else.
  const { version, upload } = JSON.parse(content.toString()) as { version: number; upload: S3Upload };
  return version === VERSION ? upload : undefined;
}

/** @throws {UploadStateError} */
export function writeUpload(storage: Storage, place: CursorPlace, upload: S3Upload): void {
  try {
    writeUploadFile(storage, place, Buffer.from(JSON.stringify({ version: VERSION, upload })));
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new UploadStateError(`cannot keep the state of the upload: ${text}`, { cause: error });
  }
}

export function isSameMessage(one: TaskMessage, other: TaskMessage): boolean {
  return tokenOf(one) === tokenOf(other);
}

/** Names the message in what passes between steps. */
export function tokenOf({ sequence, ingestTimeMs, rewoundMessages }: TaskMessage): string {
  return `${sequence}/${ingestTimeMs}/${rewoundMessages}`;
}

/** Nothing is with S3 that counts. */
export function withoutParts(upload: S3Upload): S3Upload {
  return { ...upload, uploadId: undefined, etags: [], partBytes: 0 };
}
