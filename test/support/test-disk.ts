import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { CleanUps } from "./clean-ups.ts";
import type { CleanUp } from "./program.ts";
import { requireProgram, skipOrFail } from "./require-program.ts";

export type FileSystem = "ext4" | "xfs";

const UNMOUNT_TRIES_MAX = 50;
const XFS_LOG_SIZE = "96M";
const DEVICE_WAIT_MS = 10_000;
const programsOf: Record<FileSystem, readonly string[]> = {
  ext4: ["mkfs.ext4", "losetup"],
  xfs: ["mkfs.xfs", "losetup"],
};

/** Whether disks can be made and mounted here: that takes root, and a system that lets root do it. */
export function requireMounts(t: TestContext, why: string): boolean {
  if (process.getuid?.() !== 0) return skipOrFail(t, `needs root, to ${why}`);
  const point = mkdtempSync(path.join(tmpdir(), "millrace-mount-"));
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", point], {
    encoding: "utf8",
  });
  if (status === 0) spawnSync("umount", [point]);
  rmSync(point, { recursive: true });
  return status === 0 || skipOrFail(t, `nothing can be mounted here (${stderr.trim()}), needed to ${why}`);
}

/** The same, for a disk with a file system of its own. */
export function requireDisk(t: TestContext, fileSystem: FileSystem, why: string): boolean {
  if (!requireMounts(t, why)) return false;
  if (!existsSync("/dev/loop-control")) return skipOrFail(t, `no loop devices here, needed to ${why}`);
  return programsOf[fileSystem].every((program) => requireProgram(t, program, why));
}

/** The same, for one whose device fails when it is told to. */
export function requireFailingDisk(t: TestContext, fileSystem: FileSystem, why: string): boolean {
  if (!requireDisk(t, fileSystem, why)) return false;
  if (!existsSync("/dev/fuse")) return skipOrFail(t, `no /dev/fuse here, needed to ${why}`);
  return ["nbdkit", "nbdfuse", "fusermount3"].every((program) => requireProgram(t, program, why));
}

/** @returns the loop device through which `image` is one */
function attachLoop(t: CleanUp, image: string): string {
  const device = execFileSync("losetup", ["-f", "--show", image], { encoding: "utf8" }).trim();
  t.after(() => execFileSync("losetup", ["-d", device]));
  return device;
}

/** A disk of a test, mounted at `directory`; gone when the test ends. Whoever uses it must have ended before. */
export class TestDisk {
  readonly directory: string;
  readonly #folder: string;
  #source = "";
  #mountOptions: readonly string[] = [];
  /** Where the kernel keeps what it knows of the mounted file system. */
  #kernelEntry = "";
  #isMounted = false;

  protected constructor(t: CleanUp) {
    this.#folder = mkdtempSync(path.join(tmpdir(), "millrace-disk-"));
    this.directory = path.join(this.#folder, "mounted");
    mkdirSync(this.directory);
    t.after(() => rmSync(this.#folder, { recursive: true, force: true }));
  }

  /** Room for so many bytes, and a write that does not fit takes what does. */
  static tmpfs(t: CleanUp, sizeBytes: number): TestDisk {
    const disk = new TestDisk(t);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes},mode=0700`, "tmpfs", disk.directory]);
    disk.#isMounted = true;
    t.after(() => disk.unmount());
    return disk;
  }

  /** A file system in a file. */
  static onLoop(t: CleanUp, fileSystem: FileSystem, sizeMib: number): TestDisk {
    const disk = new TestDisk(t);
    const image = path.join(disk.#folder, "image");
    execFileSync("truncate", ["-s", `${sizeMib}M`, image]);
    disk.useDevice(t, { image, fileSystem });
    return disk;
  }

  get folder(): string {
    return this.#folder;
  }

  /** A directory of the disk to be the HOME of an engine. */
  makeHome(): string {
    const home = path.join(this.directory, "home");
    mkdirSync(home, { mode: 0o700 });
    return home;
  }

  /**
   * Makes a file system in `image`, by way of a loop device, and mounts it. `xfsLog`: an image for its log, which otherwise lies
   * in the same one.
   */
  protected useDevice(
    t: CleanUp,
    { image, fileSystem, xfsLog }: { image: string; fileSystem: FileSystem; xfsLog?: string },
  ): void {
    this.#source = attachLoop(t, image);
    this.#kernelEntry = path.join("/sys/fs", fileSystem, path.basename(this.#source));
    // Without reserved blocks root meets a full disk when everybody does.
    const make = fileSystem === "ext4" ? ["mkfs.ext4", "-q", "-F", "-m", "0"] : ["mkfs.xfs", "-q", "-f"];
    if (xfsLog !== undefined) {
      const logDevice = attachLoop(t, xfsLog);
      make.push("-l", `logdev=${logDevice}`);
      this.#mountOptions = ["-o", `logdev=${logDevice}`];
    }
    execFileSync(make[0]!, [...make.slice(1), this.#source], { stdio: ["ignore", "ignore", "pipe"] });
    t.after(() => this.unmount());
    this.mount();
  }

  mount(): void {
    execFileSync("mount", [...this.#mountOptions, this.#source, this.directory]);
    this.#isMounted = true;
  }

  /** Forgets what the kernel has cached of it, too. */
  async unmount(): Promise<void> {
    if (!this.#isMounted) return;
    for (let tries = 0; ; tries++) {
      const { status, stderr } = spawnSync("umount", [this.directory], { encoding: "utf8" });
      if (status === 0) break;
      if (tries === UNMOUNT_TRIES_MAX) throw new Error(`cannot unmount: ${stderr}`);
      await after(100);
    }
    this.#isMounted = false;
    // A mount namespace that another test made meanwhile has it mounted too, and the next mount would only join that one.
    if (this.#kernelEntry !== "")
      await waitFor(() => !existsSync(this.#kernelEntry), "the kernel to let go of the disk");
  }

  /** From now on nothing reaches the medium and every call fails; what had reached it is there after the next mount. */
  cutPower(): void {
    execFileSync("xfs_io", ["-x", "-c", "shutdown", this.directory]);
  }
}

/** Runs `body` on a disk of so many bytes, which is gone behind it, where this user may mount one. What it leaves ends first. */
export async function onSmallDisk(
  t: TestContext,
  sizeBytes: number,
  body: (directory: string, cleanUps: CleanUps) => Promise<void>,
): Promise<void> {
  if (!requireMounts(t, "fill a disk")) return;
  await CleanUps.around((cleanUps) => body(TestDisk.tmpfs(cleanUps, sizeBytes).directory, cleanUps));
}

/** A disk over a device whose reads and writes fail, or hang, when it is told to, or are slow all the time. */
export class FailingDisk extends TestDisk {
  #server: ChildProcess | undefined;
  #image = "";
  #isStopped = false;

  static async make(
    t: CleanUp,
    options: { fileSystem: FileSystem; sizeMib: number; bytesPerSecond?: number },
  ): Promise<FailingDisk> {
    const { fileSystem, sizeMib, bytesPerSecond } = options;
    const bitsPerSecond = bytesPerSecond === undefined ? undefined : 8 * bytesPerSecond;
    const disk = new FailingDisk(t);
    const socket = path.join(disk.folder, "socket");
    const fuse = path.join(disk.folder, "device");
    mkdirSync(fuse);
    const server = spawn(
      "nbdkit",
      ["-f", "-U", socket, "--filter=error"].concat([
        ...(bitsPerSecond === undefined ? [] : ["--filter=rate"]),
        "memory",
        `${sizeMib}M`,
        ...(bitsPerSecond === undefined ? [] : [`rate=${bitsPerSecond}`]),
        "error=EIO",
        "error-rate=0",
        `error-pwrite-rate=1`,
        `error-pwrite-file=${disk.#flag("write")}`,
        `error-pread-rate=1`,
        `error-pread-file=${disk.#flag("read")}`,
      ]),
      { stdio: "ignore" },
    );
    disk.#server = server;
    t.after(() => end(server));
    await waitFor(() => existsSync(socket), "nbdkit");
    const bridge = spawn("nbdfuse", [fuse, `nbd+unix:///?socket=${socket}`], { stdio: "ignore" });
    t.after(async () => {
      spawnSync("fusermount3", ["-u", fuse]);
      await end(bridge);
    });
    const image = path.join(fuse, "nbd");
    await waitFor(() => existsSync(image), "nbdfuse");
    disk.#image = image;
    if (fileSystem === "ext4") disk.useDevice(t, { image, fileSystem });
    else {
      // Over one failed write to its log xfs shuts down, reads and all, until it is mounted again: whether a test meets that is
      // a matter of moments. With the log elsewhere what fails is what the engine writes.
      const xfsLog = path.join(disk.folder, "log");
      execFileSync("truncate", ["-s", XFS_LOG_SIZE, xfsLog]);
      disk.useDevice(t, { image, fileSystem, xfsLog });
    }
    // Last, and so first: nothing can be unmounted from a device that does not answer, or refuses.
    t.after(() => disk.heal());
    return disk;
  }

  #flag(what: "read" | "write"): string {
    return path.join(this.folder, `fail-${what}`);
  }

  fail(what: "read" | "write"): void {
    writeFileSync(this.#flag(what), "");
  }

  /** The kernel holds nothing any more of these files of the disk: what is read of them comes from the device. */
  dropCached(files: readonly string[]): void {
    for (const file of [...files, this.#image])
      execFileSync("dd", [`if=${file}`, "iflag=nocache", "count=0", "status=none"]);
  }

  /** Nothing fails and nothing hangs any more. */
  heal(): void {
    for (const what of ["read", "write"] as const) rmSync(this.#flag(what), { force: true });
    this.resume();
  }

  /** The device answers nothing: whoever waits for it cannot be killed. */
  hang(): void {
    this.#server?.kill("SIGSTOP");
    this.#isStopped = true;
  }

  resume(): void {
    if (!this.#isStopped) return;
    this.#server?.kill("SIGCONT");
    this.#isStopped = false;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await Promise.race([ended, after(2000).then(() => child.kill("SIGKILL"))]);
  await ended;
}

async function waitFor(isThere: () => boolean, who: string): Promise<void> {
  const deadlineMs = performance.now() + DEVICE_WAIT_MS;
  while (!isThere()) {
    if (performance.now() > deadlineMs) throw new Error(`${who} did not start`);
    await after(20);
  }
}
