/** One line of /proc/self/mountinfo. */
export interface Mount {
  readonly mountPoint: string;
  /** Of the device behind it; major 0 where there is none. */
  readonly major: number;
  readonly minor: number;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** The lines of /proc/self/mountinfo (proc(5)); those that are none are passed over. */
export function parseMountTable(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const separator = fields.indexOf("-", 6);
    const [major, minor] = (fields[2] ?? "").split(":").map(Number);
    const mountPoint = fields[4];
    const [type, source, superOptions] = fields.slice(separator + 1);
    if (separator < 0 || major === undefined || minor === undefined || mountPoint === undefined) return [];
    if (type === undefined || source === undefined) return [];
    const options = [...(fields[5] ?? "").split(","), ...(superOptions ?? "").split(",")];
    return [
      {
        mountPoint: unescape(mountPoint),
        major,
        minor,
        type,
        source: unescape(source),
        options: [...new Set(options)].map(unescape),
      },
    ];
  });
}

/** The mount that `directory`, a path without symbolic links, is on. The last one over a place hides those before it. */
export function findMount(mounts: readonly Mount[], directory: string): Mount | undefined {
  let found: Mount | undefined;
  for (const mount of mounts) {
    const { mountPoint } = mount;
    const isAbove = mountPoint === "/" || directory === mountPoint || directory.startsWith(`${mountPoint}/`);
    if (isAbove && mountPoint.length >= (found?.mountPoint.length ?? 0)) found = mount;
  }
  return found;
}

/** Blanks and the like stand there in octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
