let lastSessionId = 0;

/** A number that no other session of this process has, on whatever port. */
export function nextSessionId(): number {
  lastSessionId += 1;
  return lastSessionId;
}
