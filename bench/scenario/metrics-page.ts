/** The value of the first series of that name on a page of `/metrics`. @throws where there is none, or none with a number */
export function metricOf(page: string, name: string): number {
  const line = page.split("\n").find((text) => text.startsWith(`${name}{`) || text.startsWith(`${name} `));
  if (line === undefined) throw new Error(`the engine tells no metric ${name}`);
  const text = line.slice(line.lastIndexOf(" ") + 1);
  const value = Number(text);
  if (text === "" || Number.isNaN(value)) throw new Error(`the metric ${name} is "${text}", no number`);
  return value;
}
