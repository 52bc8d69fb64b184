/** Those who wait until everything is done. */
export class IdleWaiters {
  #waiting: (() => void)[] = [];

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Asked whenever it may be so. */
  look(isIdle: () => boolean): void {
    if (this.#waiting.length === 0 || !isIdle()) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
