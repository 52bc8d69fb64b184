import path from "node:path";

import type { Storage, StorageEntry, StorageFile } from "../../src/log/storage.ts";
import { failIf, systemError } from "./system-error.ts";

/**
 * A file system in memory that knows which EFFECTS of each operation are durable. After a power cut the durable ones are
 * there, and any part of the others. The model is strict POSIX: syncing a file makes its bytes and size durable, not its
 * name; a failed sync loses the bytes that it covered while reads still show them, and the next sync succeeds (measured on
 * ext4 and xfs). Writes become durable page by page.
 */
export type OperationKind =
  | "open"
  | "write"
  | "read"
  | "truncate"
  | "sync"
  | "syncDirectory"
  | "rename"
  | "unlink"
  | "makeDirectory"
  | "removeDirectory"
  | "mark";

/** What to do to one operation: fail, write less, or write nothing. */
export interface Fault {
  readonly code?: string;
  /** Bytes that a write stores before it fails, or before it returns short when there is no code. */
  readonly writtenBytes?: number;
}

/** Keys: `write@3`, the third write; `write@3+`, it and all later ones; `write@*`, every write; `any@7`, the seventh operation of any kind but reads. */
export type Faults = ReadonlyMap<string, Fault>;

export interface Operation<Note = unknown> {
  readonly kind: OperationKind;
  readonly note: Note | string;
}

interface EffectBase {
  readonly operation: number;
  /** The operation after which it is durable. */
  durableAt: number;
  /** The operation, a failed sync, that dropped it: no later sync brings it back. */
  lostAt: number;
}
type NameEffect = EffectBase &
  (
    | { readonly type: "link"; readonly path: string; readonly inode: number; readonly directory: string }
    | { readonly type: "unlink"; readonly path: string; readonly inode: number; readonly directory: string }
    | { readonly type: "rename"; readonly path: string; readonly target: string; readonly directory: string }
  );
type FileEffect = EffectBase &
  (
    | { readonly type: "size"; readonly inode: number; readonly sizeBytes: number }
    | { readonly type: "data"; readonly inode: number; readonly position: number; readonly bytes: Buffer }
  );
export type Effect = NameEffect | FileEffect;

const PAGE_BYTES = 4096;
const DIRECTORY = -1;
/** The operation of what an earlier process did. */
const BEFORE = -1;

/** Bytes of a file; copied before the first change when another image shares them. */
class SimInode {
  bytes: Buffer;
  sizeBytes: number;
  #isOwned: boolean;

  constructor(bytes: Buffer = Buffer.alloc(0), sizeBytes = 0, isOwned = true) {
    this.bytes = bytes;
    this.sizeBytes = sizeBytes;
    this.#isOwned = isOwned;
  }

  share(): SimInode {
    this.#isOwned = false;
    return new SimInode(this.bytes, this.sizeBytes, false);
  }

  resize(sizeBytes: number): void {
    this.#own(sizeBytes);
    if (sizeBytes < this.sizeBytes) this.bytes.fill(0, sizeBytes, this.sizeBytes);
    this.sizeBytes = sizeBytes;
  }

  put(bytes: Uint8Array, position: number): void {
    this.#own(this.sizeBytes);
    // Data beyond a size that did not become durable is not there.
    const end = Math.min(position + bytes.length, this.sizeBytes);
    if (position < end) this.bytes.set(bytes.subarray(0, end - position), position);
  }

  #own(capacityBytes: number): void {
    if (this.#isOwned && capacityBytes <= this.bytes.length) return;
    const bytes = Buffer.alloc(
      Math.max(capacityBytes, this.bytes.length, this.#isOwned ? 2 * this.bytes.length : 0),
    );
    this.bytes.copy(bytes, 0, 0, this.sizeBytes);
    this.bytes = bytes;
    this.#isOwned = true;
  }
}

interface Image {
  readonly names: Map<string, number>;
  readonly inodes: Map<number, SimInode>;
}

export class SimStorage implements Storage {
  readonly operations: Operation[] = [];
  readonly effects: Effect[] = [];
  readonly #faults: Map<string, Fault>;
  readonly #counts = new Map<string, number>();
  readonly #names: Map<string, number>;
  readonly #inodes: Map<number, SimInode>;
  readonly #base: Image;
  #nextInode: number;
  #queue: (() => void)[] = [];
  freeBytesLeft = Number.MAX_SAFE_INTEGER;
  openFiles = 0;
  /** Faults that struck. */
  faultCount = 0;
  #isHealed = false;

  constructor(
    options: {
      readonly faults?: Faults;
      readonly image?: Image;
      /** What an earlier process did that the medium may not have: `image` shows all of it. */
      readonly inherited?: { readonly base: Image; readonly effects: readonly Effect[] };
    } = {},
  ) {
    this.#faults = new Map(options.faults);
    this.#names = options.image?.names ?? new Map([["/", DIRECTORY]]);
    this.#inodes = options.image?.inodes ?? new Map<number, SimInode>();
    this.#base = options.inherited?.base ?? shareImage({ names: this.#names, inodes: this.#inodes });
    this.effects.push(...(options.inherited?.effects ?? []));
    this.#nextInode = 1 + Math.max(0, ...this.#names.values(), ...this.#inodes.keys());
  }

  /** The checker's own event, such as an acknowledgement; it stands between the operations. */
  mark(note: unknown): void {
    this.operations.push({ kind: "mark", note });
  }

  count(kind: OperationKind): number {
    return this.#counts.get(kind) ?? 0;
  }

  #begin(kind: OperationKind, note: string): Fault | undefined {
    const count = this.count(kind) + 1;
    this.#counts.set(kind, count);
    const any = (this.#counts.get("any") ?? 0) + 1;
    this.#counts.set("any", any);
    this.operations.push({ kind, note });
    if (this.#isHealed) return undefined;
    const fault =
      this.#faults.get(`${kind}@${count}`) ?? this.#faults.get(`any@${any}`) ?? this.#lasting(kind, count);
    if (fault !== undefined) this.faultCount += 1;
    return fault;
  }

  #lasting(kind: OperationKind, count: number): Fault | undefined {
    const always = this.#faults.get(`${kind}@*`);
    if (always !== undefined) return always;
    for (const [key, fault] of this.#faults) {
      if (!key.endsWith("+") || !key.startsWith(`${kind}@`)) continue;
      if (count >= Number(key.slice(kind.length + 1, -1))) return fault;
    }
    return undefined;
  }

  /** From now on nothing fails. */
  heal(): void {
    this.#isHealed = true;
  }

  #record(effect: Omit<NameEffect, keyof EffectBase> | Omit<FileEffect, keyof EffectBase>): void {
    const base = { operation: this.operations.length - 1, durableAt: Infinity, lostAt: Infinity };
    this.effects.push({ ...effect, ...base } as Effect);
  }

  open(filePath: string, mode: "create" | "append" | "read"): StorageFile {
    let inode = this.#names.get(filePath);
    if (mode === "create") {
      failIf(this.#begin("open", filePath), "open");
      if (inode !== undefined) throw systemError("EEXIST", `open '${filePath}'`);
      inode = this.#nextInode++;
      this.#inodes.set(inode, new SimInode());
      this.#names.set(filePath, inode);
      this.#record({ type: "link", path: filePath, inode, directory: path.dirname(filePath) } as NameEffect);
    }
    if (inode === undefined || inode === DIRECTORY) throw systemError("ENOENT", `open '${filePath}'`);
    this.openFiles += 1;
    return new SimFile(this, filePath, inode);
  }

  list(directory: string): StorageEntry[] {
    if (this.#names.get(directory) !== DIRECTORY) throw systemError("ENOENT", `scandir '${directory}'`);
    const entries: StorageEntry[] = [];
    for (const [name, inode] of this.#names) {
      if (name === directory || path.dirname(name) !== directory) continue;
      entries.push({ name: path.basename(name), kind: inode === DIRECTORY ? "directory" : "file" });
    }
    return entries;
  }

  makeDirectory(directory: string): void {
    failIf(this.#begin("makeDirectory", directory), "mkdir");
    if (this.#names.has(directory)) throw systemError("EEXIST", `mkdir '${directory}'`);
    this.#names.set(directory, DIRECTORY);
    this.#record({
      type: "link",
      path: directory,
      inode: DIRECTORY,
      directory: path.dirname(directory),
    } as NameEffect);
  }

  syncDirectory(directory: string): void {
    failIf(this.#begin("syncDirectory", directory), "fsync");
    if (this.#names.get(directory) !== DIRECTORY) throw systemError("ENOENT", `fsync '${directory}'`);
    for (const effect of this.effects) {
      if (effect.durableAt === Infinity && "directory" in effect && effect.directory === directory) {
        effect.durableAt = this.operations.length - 1;
      }
    }
  }

  rename(source: string, target: string): void {
    failIf(this.#begin("rename", `${source} -> ${target}`), "rename");
    if (!this.#names.has(source)) throw systemError("ENOENT", `rename '${source}'`);
    moveNames(this.#names, source, target);
    this.#record({ type: "rename", path: source, target, directory: path.dirname(source) } as NameEffect);
  }

  unlink(filePath: string): void {
    failIf(this.#begin("unlink", filePath), "unlink");
    this.#removeName(filePath, "unlink");
  }

  removeDirectory(directory: string): void {
    failIf(this.#begin("removeDirectory", directory), "rmdir");
    if (this.list(directory).length > 0) throw systemError("ENOTEMPTY", `rmdir '${directory}'`);
    this.#removeName(directory, "rmdir");
  }

  #removeName(name: string, call: string): void {
    const inode = this.#names.get(name);
    if (inode === undefined) throw systemError("ENOENT", `${call} '${name}'`);
    this.#names.delete(name);
    this.#record({ type: "unlink", path: name, inode, directory: path.dirname(name) } as NameEffect);
  }

  identify(place: string): string {
    if (!this.#names.has(place)) throw systemError("ENOENT", `lstat '${place}'`);
    return `${place} ${this.#names.get(place)!}`;
  }

  freeBytes(): number {
    return this.freeBytesLeft;
  }

  get isSyncing(): boolean {
    return this.#queue.length > 0;
  }

  /** Ends the sync that began first. */
  completeOneSync(): void {
    this.#queue.shift()?.();
  }

  /** Faults from here on: `sync@+3` is the third sync from now, `sync@+3+` it and all later ones. */
  plant(faults: Iterable<readonly [string, Fault]>): void {
    for (const [key, fault] of faults) {
      const [kind, offset] = key.split("@+") as [OperationKind, string];
      const isLasting = offset.endsWith("+");
      const at = this.count(kind) + Number.parseInt(offset);
      this.#faults.set(`${kind}@${at}${isLasting ? "+" : ""}`, fault);
    }
  }

  /** Runs what waits to be called back, with what that starts. */
  completeSyncs(): void {
    while (this.#queue.length > 0) this.#queue.shift()!();
  }

  defer(callback: () => void): void {
    this.#queue.push(callback);
  }

  /** @internal for SimFile */
  writeInode(inode: number, filePath: string, buffers: readonly Uint8Array[], position: number): number {
    let bytes = Buffer.concat(buffers);
    const fault = this.#begin("write", `${path.basename(filePath)} ${bytes.length}@${position}`);
    if (fault?.code !== undefined && fault.writtenBytes === undefined) throw systemError(fault.code, "write");
    if (fault?.writtenBytes !== undefined) bytes = bytes.subarray(0, fault.writtenBytes);
    const file = this.#inodes.get(inode)!;
    const end = position + bytes.length;
    if (end > file.sizeBytes) {
      file.resize(end);
      this.#record({ type: "size", inode, sizeBytes: end } as FileEffect);
    }
    file.put(bytes, position);
    for (let at = position; at < end;) {
      const stop = Math.min(end, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES);
      const part = bytes.subarray(at - position, stop - position);
      this.#record({ type: "data", inode, position: at, bytes: part } as FileEffect);
      at = stop;
    }
    // The bytes stand there, and the caller is not told how many.
    if (fault?.code !== undefined) throw systemError(fault.code, "write");
    return bytes.length;
  }

  /** @internal for SimFile */
  readInode(inode: number, target: Uint8Array, position: number): number {
    const file = this.#inodes.get(inode)!;
    const end = Math.min(file.sizeBytes, position + target.length);
    if (position >= end) return 0;
    target.set(file.bytes.subarray(position, end));
    return end - position;
  }

  /** @internal for SimFile */
  truncateInode(inode: number, filePath: string, sizeBytes: number): void {
    failIf(this.#begin("truncate", `${path.basename(filePath)} to ${sizeBytes}`), "ftruncate");
    this.#inodes.get(inode)!.resize(sizeBytes);
    this.#record({ type: "size", inode, sizeBytes } as FileEffect);
  }

  /** @internal for SimFile */
  sizeOf(inode: number): number {
    return this.#inodes.get(inode)!.sizeBytes;
  }

  /** @internal for SimFile. `covered`: how many effects there were when the sync began. */
  syncInode(inode: number, filePath: string, covered: number): Error | undefined {
    const fault = this.#begin("sync", path.basename(filePath));
    for (const effect of this.effects.slice(0, covered)) {
      if (!("inode" in effect) || effect.inode !== inode || effect.type === "link") continue;
      if (effect.durableAt !== Infinity || effect.lostAt !== Infinity) continue;
      if (fault === undefined) effect.durableAt = this.operations.length - 1;
      else if (effect.type === "data") effect.lostAt = this.operations.length - 1;
    }
    return fault === undefined ? undefined : systemError(fault.code ?? "EIO", "fdatasync");
  }

  /** Images after a crash right behind `operation`: see `crashStates`. */
  pending(operation: number): Effect[] {
    return this.effects.filter(
      (e) => e.operation <= operation && e.durableAt > operation && e.lostAt > operation,
    );
  }

  /** What is durable after `operation`. */
  durableImage(operation: number): Image {
    const image = shareImage(this.#base);
    const durable = this.effects.filter((e) => e.operation <= operation && e.durableAt <= operation);
    // A name is made durable by its directory and bytes by their file, each in the order of the calls.
    for (const effect of durable) applyEffect(image, effect);
    return image;
  }

  /**
   * What a process that was killed behind `operation` leaves to the next one: the kernel shows all of it, whatever the medium
   * has. What was pending is still pending, and what a failed sync dropped is still shown and will never be there.
   */
  killedAt(operation: number): SimStorage {
    const base = shareImage(this.#base);
    const done = this.effects.filter((effect) => effect.operation <= operation);
    const firstPending = done.findIndex((effect) => effect.durableAt > operation);
    const durableCount = firstPending < 0 ? done.length : firstPending;
    for (const effect of done.slice(0, durableCount)) applyEffect(base, effect);
    const image = shareImage(base);
    const effects = done.slice(durableCount).map((effect): Effect => {
      applyEffect(image, effect);
      const durableAt = effect.durableAt <= operation ? BEFORE : Infinity;
      const lostAt = effect.lostAt <= operation ? BEFORE : Infinity;
      return { ...effect, operation: BEFORE, durableAt, lostAt };
    });
    return new SimStorage({ image, inherited: { base, effects } });
  }

  /** The files as they are now, as another machine's start. */
  copy(): SimStorage {
    return new SimStorage({ image: shareImage({ names: this.#names, inodes: this.#inodes }) });
  }

  /** Damages bytes in place. */
  flip(filePath: string, position: number, mask = 0x01): void {
    const inode = this.#inodes.get(this.#names.get(filePath)!)!;
    inode.put(Buffer.from([inode.bytes[position]! ^ mask]), position);
  }

  read(filePath: string): Buffer {
    const inode = this.#inodes.get(this.#names.get(filePath) ?? NaN);
    if (inode === undefined) throw systemError("ENOENT", filePath);
    return Buffer.from(inode.bytes.subarray(0, inode.sizeBytes));
  }

  /** Makes a file as it stands, durable, whatever was there. */
  put(filePath: string, bytes: Buffer): void {
    const inode = this.#nextInode++;
    this.#names.set(filePath, inode);
    this.#inodes.set(inode, new SimInode(Buffer.from(bytes), bytes.length));
  }
}

class SimFile implements StorageFile {
  readonly path: string;
  readonly #storage: SimStorage;
  readonly #inode: number;
  #isOpen = true;

  constructor(storage: SimStorage, filePath: string, inode: number) {
    this.#storage = storage;
    this.path = filePath;
    this.#inode = inode;
  }

  #check(): void {
    if (!this.#isOpen) throw systemError("EBADF", this.path);
  }
  write(buffers: readonly Uint8Array[], position: number): number {
    this.#check();
    return this.#storage.writeInode(this.#inode, this.path, buffers, position);
  }
  read(target: Uint8Array, position: number): number {
    this.#check();
    return this.#storage.readInode(this.#inode, target, position);
  }
  sync(done: (error: Error | undefined) => void): void {
    this.#check();
    const covered = this.#storage.effects.length;
    this.#storage.defer(() => {
      done(this.#storage.syncInode(this.#inode, this.path, covered));
    });
  }
  syncNow(): void {
    this.#check();
    const error = this.#storage.syncInode(this.#inode, this.path, this.#storage.effects.length);
    if (error !== undefined) throw error;
  }
  truncate(sizeBytes: number): void {
    this.#check();
    this.#storage.truncateInode(this.#inode, this.path, sizeBytes);
  }
  sizeBytes(): number {
    this.#check();
    return this.#storage.sizeOf(this.#inode);
  }
  close(): void {
    if (this.#isOpen) this.#storage.openFiles -= 1;
    this.#isOpen = false;
  }
}

function shareImage(image: Image): Image {
  const inodes = new Map<number, SimInode>();
  for (const [number, inode] of image.inodes) inodes.set(number, inode.share());
  return { names: new Map(image.names), inodes };
}

export function applyEffect(image: Image, effect: Effect, bytes?: Buffer): void {
  switch (effect.type) {
    case "link":
      image.names.set(effect.path, effect.inode);
      if (effect.inode !== DIRECTORY) inodeOf(image, effect.inode);
      break;
    case "unlink":
      removeName(image.names, effect);
      break;
    case "rename":
      moveNames(image.names, effect.path, effect.target);
      break;
    case "size":
      inodeOf(image, effect.inode).resize(effect.sizeBytes);
      break;
    case "data":
      inodeOf(image, effect.inode).put(bytes ?? effect.bytes, effect.position);
      break;
  }
}

function inodeOf(image: Image, number: number): SimInode {
  let inode = image.inodes.get(number);
  if (inode === undefined) {
    inode = new SimInode();
    image.inodes.set(number, inode);
  }
  return inode;
}

/** The file is gone from its directory, also where a rename of the directory did not become durable. */
function removeName(names: Map<string, number>, unlinked: { path: string; inode: number }): void {
  if (unlinked.inode === DIRECTORY || names.get(unlinked.path) === unlinked.inode) {
    names.delete(unlinked.path);
    return;
  }
  for (const [name, inode] of names) if (inode === unlinked.inode) names.delete(name);
}

function moveNames(names: Map<string, number>, source: string, target: string): void {
  for (const [name, inode] of [...names]) {
    if (name !== source && !name.startsWith(`${source}/`)) continue;
    names.delete(name);
    names.set(target + name.slice(source.length), inode);
  }
}

export interface CrashState {
  readonly label: string;
  readonly storage: SimStorage;
  /** The process died and the machine did not: nothing written is lost. */
  readonly isKillOnly: boolean;
}

export interface CrashOptions {
  readonly random: () => number;
  readonly randomSubsets: number;
  /** Destroys the unit of this size around each pending write: a device without power-safe overwrite. 0: none. */
  readonly garbleBytes: number;
}

/** Every state worth trying after a crash right behind `operation`. */
export function* crashStates(
  storage: SimStorage,
  operation: number,
  options: CrashOptions,
): Generator<CrashState> {
  const pending = storage.pending(operation);
  const durable = storage.durableImage(operation);
  const make = (label: string, keep: (effect: Effect) => boolean | Buffer): CrashState => {
    const image = shareImage(durable);
    for (const effect of pending) {
      const kept = keep(effect);
      if (kept !== false) applyEffect(image, effect, kept === true ? undefined : kept);
    }
    return { label, storage: new SimStorage({ image }), isKillOnly: false };
  };
  yield { label: "process killed", storage: storage.killedAt(operation), isKillOnly: true };
  yield make("nothing pending reached the medium", () => false);
  if (pending.length === 0) return;
  yield make("everything pending reached the medium", () => true);
  for (let count = 1; count < pending.length; count++) {
    const kept = new Set(pending.slice(0, count));
    yield make(`the first ${count} of ${pending.length} pending`, (effect) => kept.has(effect));
  }
  for (const chosen of pending) {
    const name = `${chosen.type} of operation ${chosen.operation}`;
    yield make(`only ${name}`, (effect) => effect === chosen);
    yield make(`all but ${name}`, (effect) => effect !== chosen);
  }
  for (const chosen of pending) {
    if (chosen.type !== "data") continue;
    for (const cut of cuts(chosen.position, chosen.bytes.length)) {
      const name = `${chosen.bytes.length} bytes of operation ${chosen.operation} torn at ${cut}`;
      const head = Buffer.alloc(chosen.bytes.length);
      chosen.bytes.copy(head, 0, 0, cut);
      const tail = Buffer.alloc(chosen.bytes.length);
      chosen.bytes.copy(tail, cut, cut);
      yield make(`${name}, head only`, (effect) => (effect === chosen ? head : true));
      yield make(`${name}, tail only`, (effect) => (effect === chosen ? tail : true));
    }
  }
  for (let left = options.randomSubsets; left > 0; left--) {
    const kept = new Set(pending.filter(() => options.random() < 0.5));
    yield make(`random subset of ${kept.size} of ${pending.length}`, (effect) => kept.has(effect));
  }
  if (options.garbleBytes > 0) yield* garbled(pending, durable, options.garbleBytes);
}

const SECTOR_BYTES = 512;

function cuts(position: number, sizeBytes: number): Set<number> {
  const places = [1, SECTOR_BYTES - (position % SECTOR_BYTES), sizeBytes >> 1, sizeBytes - 1];
  return new Set(places.filter((cut) => cut > 0 && cut < sizeBytes));
}

function* garbled(pending: readonly Effect[], durable: Image, unitBytes: number): Generator<CrashState> {
  for (const chosen of pending) {
    if (chosen.type !== "data") continue;
    const image = shareImage(durable);
    for (const effect of pending) applyEffect(image, effect);
    const inode = inodeOf(image, chosen.inode);
    const start = Math.floor(chosen.position / unitBytes) * unitBytes;
    const end = Math.min(inode.sizeBytes, start + unitBytes);
    if (start >= end) continue;
    const unit = Buffer.from(inode.bytes.subarray(start, end));
    for (let at = 0; at < unit.length; at++) unit[at] = unit[at]! ^ 0x5a;
    inode.put(unit, start);
    const label = `unit of ${unitBytes} bytes around operation ${chosen.operation} destroyed`;
    yield { label, storage: new SimStorage({ image }), isKillOnly: false };
  }
}
