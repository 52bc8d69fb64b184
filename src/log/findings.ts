/**
 * What a verification says of a place, the worst first:
 * - damage: bytes that do not verify, or messages that no file holds;
 * - unreadable: the medium or the system does not give out what is there;
 * - rights: others could read or change it, or it is not what it should be (a link, a pipe);
 * - torn: what a crash may leave and a start repairs, at no cost of anything durable;
 * - foreign: no file of a store, left alone;
 * - note: nothing is wrong.
 */
export const severities = ["damage", "unreadable", "rights", "torn", "foreign", "note"] as const;
export type Severity = (typeof severities)[number];

export interface Finding {
  readonly severity: Severity;
  /** Relative to the store. */
  readonly path: string;
  readonly text: string;
  /** In the file. */
  readonly offset?: number | undefined;
  readonly sizeBytes?: number | undefined;
  /** Messages that it concerns; the end is exclusive. */
  readonly fromSequence?: number | undefined;
  readonly toSequence?: number | undefined;
}

/** Whether a store with such a finding is not as it should be. */
export function isFault({ severity }: Pick<Finding, "severity">): boolean {
  return severity === "damage" || severity === "unreadable" || severity === "rights";
}

/** A store of a million damaged blocks must not become a list of a million. */
const FINDINGS_MAX = 1000;

/** Findings as they come, counted all and kept so many. */
export class FindingList {
  readonly #kept: Finding[] = [];
  readonly #counts = new Map<Severity, number>();

  add(finding: Finding): void {
    this.#counts.set(finding.severity, this.count(finding.severity) + 1);
    if (this.#kept.length < FINDINGS_MAX) this.#kept.push(finding);
  }

  get kept(): readonly Finding[] {
    return this.#kept;
  }

  count(severity: Severity): number {
    return this.#counts.get(severity) ?? 0;
  }

  get total(): number {
    let total = 0;
    for (const count of this.#counts.values()) total += count;
    return total;
  }

  get faultCount(): number {
    return severities.reduce((sum, severity) => sum + (isFault({ severity }) ? this.count(severity) : 0), 0);
  }
}
