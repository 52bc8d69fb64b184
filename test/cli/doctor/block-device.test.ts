import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { findBlockDevices, formatDeviceNumber } from "../../../src/cli/doctor/block-device.ts";
import type { Mount } from "../../../src/cli/doctor/mount-table.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";

/** A disk with a partition, a mapping over the partition, and a loop device over a file on the mapping. */
function makeSys(t: TestContext): string {
  const sys = temporaryDirectory(t);
  const write = (file: string, text: string): void => {
    mkdirSync(path.dirname(path.join(sys, file)), { recursive: true });
    writeFileSync(path.join(sys, file), text);
  };
  write("devices/usb/block/sda/queue/write_cache", "write back\n");
  write("devices/usb/block/sda/queue/rotational", "0\n");
  write("devices/usb/block/sda/removable", "1\n");
  write("devices/usb/block/sda/device/model", "Flash Disk  \n");
  write("devices/usb/block/sda/sda1/partition", "1\n");
  write("devices/virtual/block/dm-0/queue/write_cache", "write through\n");
  write("devices/virtual/block/loop0/loop/backing_file", "/srv/image\n");
  const links = {
    "8:1": "usb/block/sda/sda1",
    "253:0": "virtual/block/dm-0",
    "7:0": "virtual/block/loop0",
  };
  mkdirSync(path.join(sys, "dev/block"), { recursive: true });
  for (const [number, target] of Object.entries(links)) {
    symlinkSync(`../../devices/${target}`, path.join(sys, "dev/block", number));
  }
  mkdirSync(path.join(sys, "devices/virtual/block/dm-0/slaves"));
  symlinkSync("../../../../usb/block/sda/sda1", path.join(sys, "devices/virtual/block/dm-0/slaves/sda1"));
  return sys;
}

function mount(mountPoint: string, major: number, minor: number, source = "none"): Mount {
  return { mountPoint, major, minor, type: "ext4", source, options: ["rw"] };
}

const stick = {
  name: "sda",
  writeCache: "write back",
  isRemovable: true,
  isRotational: false,
  model: "Flash Disk",
};

describe("findBlockDevices", () => {
  it("finds the disk of a partition, of a mapping, and of a file that is mounted", (t) => {
    const sys = makeSys(t);
    const mounts = [mount("/", 8, 1), mount("/srv", 253, 0), mount("/mnt", 7, 0)];
    for (const one of mounts)
      assert.deepEqual(findBlockDevices(one, mounts, { sys }), [stick], one.mountPoint);
  });

  it("names none for a file system without one, or where the kernel shows none", (t) => {
    const sys = makeSys(t);
    assert.deepEqual(findBlockDevices(mount("/run", 0, 21, "tmpfs"), [], { sys }), []);
    assert.deepEqual(findBlockDevices(mount("/data", 0, 40, "/dev/no-such-disk"), [], { sys }), []);
    assert.deepEqual(findBlockDevices(mount("/", 9, 9), [], { sys }), []);
  });

  it("ends where devices lie in a circle", (t) => {
    const sys = makeSys(t);
    const own = path.join(sys, "devices/virtual/block/dm-0/slaves/dm-0");
    symlinkSync("../../dm-0", own);
    const mounts = [mount("/mnt", 7, 0), mount("/srv", 7, 0)];
    assert.deepEqual(findBlockDevices(mount("/", 253, 0), mounts, { sys }), [stick]);
    assert.deepEqual(findBlockDevices(mounts[0]!, mounts, { sys }), []);
  });
});

describe("formatDeviceNumber", () => {
  it("takes the parts of a Linux device number apart", () => {
    assert.equal(formatDeviceNumber(0x801), "8:1");
    assert.equal(formatDeviceNumber(0xfd00), "253:0");
    assert.equal(formatDeviceNumber(0x10010305), "259:65541");
    assert.equal(formatDeviceNumber(17_592_472_537_200), "5000:70000");
  });
});
