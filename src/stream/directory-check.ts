import path from "node:path";

import { systemCode } from "../core/errors.ts";
import type { FindingList } from "../log/findings.ts";
import type { FileFacts } from "../log/storage.ts";

export interface DirectoryCheckOptions {
  readonly lookAt: (filePath: string) => FileFacts;
  readonly storeDirectory: string;
  readonly isLive: boolean;
}

const GROUP_AND_OTHERS = 0o077;

/** Whether what has a known name is what it should be: of the right kind, of the store's owner, closed to others. */
export class DirectoryCheck {
  readonly #options: DirectoryCheckOptions;
  readonly #owner: number;
  readonly #rootMode: number;

  /** @throws the system's error when the store cannot be looked at */
  constructor(options: DirectoryCheckOptions) {
    this.#options = options;
    const { owner, mode } = options.lookAt(options.storeDirectory);
    this.#owner = owner;
    this.#rootMode = mode;
  }

  root(findings: FindingList): void {
    if ((this.#rootMode & GROUP_AND_OTHERS) === 0) return;
    findings.add({ severity: "rights", path: ".", text: openText(this.#rootMode, "700") });
  }

  /** @returns a check of an entry by its path in the store; it says whether the entry may be read */
  entry(findings: FindingList): (place: string, wanted: FileFacts["kind"]) => boolean {
    const { lookAt, storeDirectory, isLive } = this.#options;
    return (place, wanted) => {
      let facts: FileFacts;
      try {
        facts = lookAt(path.join(storeDirectory, place));
      } catch (error) {
        const code = systemCode(error) ?? "error";
        // Under an engine that runs files come and go.
        if (isLive && code === "ENOENT") return false;
        findings.add({ severity: "unreadable", path: place, text: `cannot be looked at (${code})` });
        return false;
      }
      if (facts.kind !== wanted) {
        findings.add({
          severity: "rights",
          path: place,
          text: `a ${facts.kind} where a ${wanted} belongs; it is not read`,
        });
        return false;
      }
      this.#checkRights(place, facts, findings);
      return true;
    };
  }

  #checkRights(place: string, { kind, owner, mode, linkCount }: FileFacts, findings: FindingList): void {
    const say = (text: string): void => findings.add({ severity: "rights", path: place, text });
    if (owner !== this.#owner) say(`belongs to user ${owner}, the store to user ${this.#owner}`);
    if ((mode & GROUP_AND_OTHERS) !== 0) say(openText(mode, kind === "directory" ? "700" : "600"));
    if (kind === "file" && linkCount !== 1)
      say(`has ${linkCount} names (hard links), so that the engine does not take it`);
  }
}

function openText(mode: number, wanted: string): string {
  return `mode ${mode.toString(8)} lets others in; it should be ${wanted}`;
}
