/** Options of Node.js for a server that writes CPU profiles of its threads to the directory, if there is one. */
export function profileArgs(directory: string | undefined): string[] {
  return directory === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${directory}`];
}
