import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";

// Compiled to dist/test/project/.
const root = path.join(import.meta.dirname, "..", "..", "..");
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");

type Versions = Readonly<Record<string, string>>;

interface Manifest {
  readonly dependencies: Versions;
  readonly optionalDependencies: Versions;
  readonly devDependencies: Versions;
  readonly allowScripts: Readonly<Record<string, boolean>>;
}

interface LockedPackage {
  readonly version: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
}

const manifest = JSON.parse(read("package.json")) as Manifest;
const lock = JSON.parse(read("package-lock.json")) as {
  readonly packages: Readonly<Record<string, LockedPackage>>;
};
const packages = Object.entries(lock.packages).filter(([place]) => place !== "");
const nameOf = (place: string): string =>
  place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length);

describe("what is installed", () => {
  it("has exact versions, those that the lock file has", () => {
    const { dependencies, optionalDependencies, devDependencies } = manifest;
    for (const [name, version] of Object.entries({
      ...dependencies,
      ...optionalDependencies,
      ...devDependencies,
    })) {
      assert.match(version, /^\d+\.\d+\.\d+$/, name);
      assert.equal(lock.packages[`node_modules/${name}`]?.version, version, name);
    }
    assert.match(read(".npmrc"), /^save-exact=true$/m);
  });

  it("has a hash in the lock file for every package, and comes from the registry alone", () => {
    assert.ok(packages.length > 100);
    for (const [place, { integrity, resolved, link }] of packages) {
      assert.match(integrity ?? "", /^sha512-[A-Za-z0-9+/]{86}==$/, place);
      assert.equal(link, undefined, place);
      if (resolved !== undefined) assert.match(resolved, /^https:\/\/registry\.npmjs\.org\//, place);
    }
  });

  it("runs no script of a dependency: each that has one is named and refused", () => {
    const withScripts = new Set(
      packages.filter(([, entry]) => entry.hasInstallScript).map(([place]) => nameOf(place)),
    );
    for (const name of withScripts) assert.equal(manifest.allowScripts[name], false, name);
    assert.ok(Object.values(manifest.allowScripts).every((isAllowed) => !isAllowed));
    assert.match(read(".ci/run"), /^npm ci --strict-allow-scripts$/m);
  });

  it("is not taken the day it is published: a hijacked release is found within days", () => {
    assert.match(read(".npmrc"), /^min-release-age=[1-9]\d*$/m);
  });
});
