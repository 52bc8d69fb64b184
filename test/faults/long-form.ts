/** Whether the tests of this folder run in their long form: `npm run soak`. */
export const isLong = process.env["MILLRACE_SOAK"] === "1";

/** No test of the long form runs longer. */
export const longTimeout = 60 * 60_000;
