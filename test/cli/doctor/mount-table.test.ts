import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { findMount, parseMountTable } from "../../../src/cli/doctor/mount-table.ts";

const table = [
  "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro",
  "30 22 0:40 / /data rw,nosuid shared:3 master:1 - btrfs /dev/sdb rw,subvol=/",
  "31 22 0:41 / /data/my\\040disk ro - vfat /dev/sdc1 rw,uid=1000",
  "32 22 0:42 / /run/x rw - tmpfs tmpfs rw,size=1024k",
  "33 32 0:43 / /run/x rw - overlay overlay rw,upperdir=/u",
  "",
  "no mount at all",
].join("\n");

describe("parseMountTable", () => {
  it("reads lines with any number of optional fields, and undoes what stands there in octal", () => {
    const mounts = parseMountTable(table);
    assert.equal(mounts.length, 5);
    assert.deepEqual(mounts[0], {
      mountPoint: "/",
      major: 8,
      minor: 1,
      type: "ext4",
      source: "/dev/sda1",
      options: ["rw", "relatime", "errors=remount-ro"],
    });
    assert.equal(mounts[2]?.mountPoint, "/data/my disk");
    assert.ok(mounts[2].options.includes("ro"));
  });
});

describe("findMount", () => {
  it("takes the deepest mount above a path, and the last one over a place", () => {
    const mounts = parseMountTable(table);
    const typeOf = (directory: string): string | undefined => findMount(mounts, directory)?.type;
    assert.equal(typeOf("/"), "ext4");
    assert.equal(typeOf("/database"), "ext4");
    assert.equal(typeOf("/data"), "btrfs");
    assert.equal(typeOf("/data/x"), "btrfs");
    assert.equal(typeOf("/data/my disk/store"), "vfat");
    assert.equal(typeOf("/run/x/store"), "overlay");
    assert.equal(findMount([], "/"), undefined);
  });
});
