/** Limits of what is set aside, beside those of limits.ts. */
/** Of what a destination said of a message that is set aside; the rest is cut off. */
export const SET_ASIDE_ERROR_CHARACTERS_MAX = 1000;
/** A companion stream, as it is made where the stream's options say nothing. */
export const SET_ASIDE_BYTES_DEFAULT = 16 * 1024 * 1024;
export const SET_ASIDE_BYTES_MIN = 64 * 1024;
/** Entries on their way to a companion stream at once. */
export const SET_ASIDE_IN_FLIGHT_BYTES_MAX = 1024 * 1024;
/** Names that are tried for a companion stream. */
export const SET_ASIDE_NAMES_MAX = 100;
