import path from "node:path";

import { readDurableFile, writeDurableFile } from "./durable-file.ts";
import { decodeProducers, encodeProducers, type StoredProducers } from "./producers-layout.ts";
import type { Storage } from "./storage.ts";
import { streamSeed } from "./stream-seed.ts";

const FILE_NAME = "producers";

export function producersPath(directory: string): string {
  return path.join(directory, FILE_NAME);
}

/** @returns "damaged" also for that of another stream @throws the system's error when this process can open no more files */
export function readProducers(storage: Storage, directory: string): StoredProducers | "missing" | "damaged" {
  const content = readDurableFile(storage, producersPath(directory), streamSeed(directory));
  return typeof content === "string" ? content : (decodeProducers(content) ?? "damaged");
}

/** Durable on return. @throws the system's error; then the old content still stands, or the new one does */
export function writeProducers(storage: Storage, directory: string, stored: StoredProducers): void {
  writeDurableFile(storage, producersPath(directory), encodeProducers(stored), streamSeed(directory));
}
