import path from "node:path";

import { assert } from "../core/assert.ts";
import { systemError } from "../core/errors.ts";
import type { Storage, StorageEntry, StorageFile } from "./storage.ts";

interface DirectoryNode {
  readonly kind: "directory";
  /** Where it is below; undefined for one that was made here. */
  readonly basePath: string | undefined;
  /** Undefined until someone looks into it. */
  children: Map<string, Node> | undefined;
}
interface OtherNode {
  readonly kind: "other";
  readonly basePath: string;
}
type Node = DirectoryNode | FileNode | OtherNode;

/**
 * A storage over another one that is only read: what is changed in `root` or below is kept in memory and seen from here on, and
 * nothing below learns of it. So whoever would change files can be asked what he would do. Bytes that are written stay in
 * memory; those that are not are read from below.
 */
export class OverlayStorage implements Storage {
  readonly #base: Storage;
  readonly #root: string;
  readonly #tree: DirectoryNode;

  constructor(options: { readonly base: Storage; readonly root: string }) {
    this.#base = options.base;
    this.#root = options.root;
    this.#tree = { kind: "directory", basePath: options.root, children: undefined };
  }

  open(filePath: string, mode: "create" | "append" | "read"): StorageFile {
    const { parent, name } = this.#parentOf(filePath, "open");
    let node = parent.get(name);
    if (mode === "create") {
      if (node !== undefined) throw systemError("EEXIST", `open '${filePath}'`);
      node = new FileNode(undefined);
      parent.set(name, node);
    }
    if (node === undefined) throw systemError("ENOENT", `open '${filePath}'`);
    if (node.kind === "file") {
      const below = node.basePath === undefined ? undefined : this.#base.open(node.basePath, "read");
      return new OverlayFile(filePath, node, below);
    }
    // The storage below has the right words for what is no file.
    if (node.basePath !== undefined) return this.#base.open(node.basePath, "read");
    throw systemError("EISDIR", `open '${filePath}'`);
  }

  list(directory: string): StorageEntry[] {
    const children = this.#childrenOf(this.#directory(directory, "scandir"));
    return [...children].map(([name, { kind }]) => ({ name, kind }));
  }

  makeDirectory(directory: string): void {
    const { parent, name } = this.#parentOf(directory, "mkdir");
    if (parent.has(name)) throw systemError("EEXIST", `mkdir '${directory}'`);
    parent.set(name, { kind: "directory", basePath: undefined, children: new Map() });
  }

  syncDirectory(directory: string): void {
    if (this.#isInside(directory)) this.#directory(directory, "fsync");
  }

  rename(source: string, target: string): void {
    const from = this.#parentOf(source, "rename");
    const to = this.#parentOf(target, "rename");
    const node = from.parent.get(from.name);
    if (node === undefined) throw systemError("ENOENT", `rename '${source}'`);
    const replaced = to.parent.get(to.name);
    if (replaced?.kind === "directory" && this.#childrenOf(replaced).size > 0) {
      throw systemError("ENOTEMPTY", `rename '${source}' -> '${target}'`);
    }
    from.parent.delete(from.name);
    to.parent.set(to.name, node);
  }

  unlink(filePath: string): void {
    const { parent, name } = this.#parentOf(filePath, "unlink");
    const node = parent.get(name);
    if (node === undefined) throw systemError("ENOENT", `unlink '${filePath}'`);
    if (node.kind === "directory") throw systemError("EISDIR", `unlink '${filePath}'`);
    parent.delete(name);
  }

  removeDirectory(directory: string): void {
    const { parent, name } = this.#parentOf(directory, "rmdir");
    const children = this.#childrenOf(this.#directory(directory, "rmdir"));
    if (children.size > 0) throw systemError("ENOTEMPTY", `rmdir '${directory}'`);
    parent.delete(name);
  }

  identify(place: string): string {
    if (place !== this.#root) {
      const { parent, name } = this.#parentOf(place, "lstat");
      if (!parent.has(name)) throw systemError("ENOENT", `lstat '${place}'`);
    }
    // Nobody but its one user changes what is kept in memory.
    return place;
  }

  freeBytes(): number {
    return this.#base.freeBytes(this.#root);
  }

  #isInside(place: string): boolean {
    return place === this.#root || place.startsWith(this.#root === "/" ? "/" : `${this.#root}/`);
  }

  #directory(directory: string, call: string): DirectoryNode {
    if (directory === this.#root) return this.#tree;
    const { parent, name } = this.#parentOf(directory, call);
    const node = parent.get(name);
    if (node === undefined) throw systemError("ENOENT", `${call} '${directory}'`);
    if (node.kind !== "directory") throw systemError("ENOTDIR", `${call} '${directory}'`);
    return node;
  }

  #parentOf(place: string, call: string): { readonly parent: Map<string, Node>; readonly name: string } {
    assert(place !== this.#root && this.#isInside(place), `${call} '${place}' is inside '${this.#root}'`);
    const directory = this.#directory(path.dirname(place), call);
    return { parent: this.#childrenOf(directory), name: path.basename(place) };
  }

  #childrenOf(directory: DirectoryNode): Map<string, Node> {
    const { basePath } = directory;
    if (directory.children === undefined && basePath !== undefined) {
      const entries = this.#base.list(basePath).map(({ name, kind }): [string, Node] => {
        const childPath = path.join(basePath, name);
        if (kind === "file") return [name, new FileNode(childPath)];
        if (kind === "other") return [name, { kind, basePath: childPath }];
        return [name, { kind, basePath: childPath, children: undefined }];
      });
      directory.children = new Map(entries);
    }
    directory.children ??= new Map();
    return directory.children;
  }
}

/** What a file has become. */
class FileNode {
  readonly kind = "file";
  readonly basePath: string | undefined;
  /** In the order in which they were written; the later covers the earlier. */
  extents: { readonly position: number; readonly bytes: Buffer }[] = [];
  /** Bytes of the file below from here on are gone. */
  baseLimit = Infinity;
  /** Undefined while it is that of the file below. */
  sizeBytes: number | undefined;

  constructor(basePath: string | undefined) {
    this.basePath = basePath;
  }
}

class OverlayFile implements StorageFile {
  readonly path: string;
  readonly #node: FileNode;
  readonly #below: StorageFile | undefined;

  constructor(filePath: string, node: FileNode, below: StorageFile | undefined) {
    this.path = filePath;
    this.#node = node;
    this.#below = below;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    const bytes = Buffer.concat(buffers);
    const sizeBytes = Math.max(this.sizeBytes(), position + bytes.length);
    this.#node.extents.push({ position, bytes });
    this.#node.sizeBytes = sizeBytes;
    return bytes.length;
  }

  read(target: Uint8Array, position: number): number {
    const count = Math.min(target.length, this.sizeBytes() - position);
    if (count <= 0) return 0;
    const wanted = target.subarray(0, count).fill(0);
    this.#readBelow(wanted, position);
    for (const extent of this.#node.extents) {
      const from = Math.max(position, extent.position);
      const to = Math.min(position + count, extent.position + extent.bytes.length);
      if (from < to) {
        wanted.set(extent.bytes.subarray(from - extent.position, to - extent.position), from - position);
      }
    }
    return count;
  }

  #readBelow(wanted: Uint8Array, position: number): void {
    const end = Math.min(wanted.length, this.#node.baseLimit - position);
    let done = 0;
    while (done < end) {
      const count = this.#below?.read(wanted.subarray(done, end), position + done) ?? 0;
      if (count === 0) return;
      done += count;
    }
  }

  sync(done: (error: Error | undefined) => void): void {
    queueMicrotask(() => {
      done(undefined);
    });
  }

  syncNow(): void {
    // What is kept in memory is as durable as it will be.
  }

  truncate(sizeBytes: number): void {
    const node = this.#node;
    node.extents = node.extents.flatMap(({ position, bytes }) =>
      position >= sizeBytes ? [] : [{ position, bytes: bytes.subarray(0, sizeBytes - position) }],
    );
    node.baseLimit = Math.min(node.baseLimit, sizeBytes);
    node.sizeBytes = sizeBytes;
  }

  sizeBytes(): number {
    return this.#node.sizeBytes ?? this.#below?.sizeBytes() ?? 0;
  }

  close(): void {
    this.#below?.close();
  }
}
