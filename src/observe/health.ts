/** What `/readyz` tells. `reasons` name what is degraded, such as `storage-read-only` or `stream-fenced:<id>`. */
export interface HealthSnapshot {
  readonly state: "starting" | "ready" | "stopping";
  readonly reasons: readonly string[];
}

/** Whether the engine is alive, has recovered and accepts requests, and what works worse than it should. */
export class Health {
  #state: HealthSnapshot["state"] = "starting";
  readonly #reasons = new Set<string>();
  readonly #sources: (() => readonly string[])[] = [];
  readonly #waiting = new Set<() => void>();

  get isReady(): boolean {
    return this.#state === "ready";
  }

  /** Recovery is over: clients may come in. Those that wait are let in now. */
  setReady(): void {
    if (this.#state !== "starting") return;
    this.#state = "ready";
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const listener of waiting) listener();
  }

  /** From here on no client is let in any more. */
  setStopping(): void {
    this.#state = "stopping";
    this.#waiting.clear();
  }

  /** Calls once when ready: at once if it is so already. The result takes the listener back. */
  whenReady(listener: () => void): () => void {
    if (this.isReady) {
      listener();
      return () => undefined;
    }
    this.#waiting.add(listener);
    return () => this.#waiting.delete(listener);
  }

  degrade(reason: string): void {
    this.#reasons.add(reason);
  }

  restore(reason: string): void {
    this.#reasons.delete(reason);
  }

  /** Reasons that somebody knows anyway, asked for at each snapshot. */
  addSource(reasons: () => readonly string[]): void {
    this.#sources.push(reasons);
  }

  snapshot(): HealthSnapshot {
    const reasons = [...this.#reasons, ...this.#sources.flatMap((source) => source())];
    return { state: this.#state, reasons: reasons.sort() };
  }
}
