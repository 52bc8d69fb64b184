/** What the services that are exported to allow, beside limits.ts: their bounds, and not ours to choose. */
const KIB = 1024;
const MIB = 1024 * KIB;

/** BatchPutMessage of IoT Analytics. Nobody says what a whole request may have; this is not much. */
export const IOT_ANALYTICS_MESSAGES_MAX = 100;
export const IOT_ANALYTICS_MESSAGE_BYTES_MAX = 128 * KIB;
export const IOT_ANALYTICS_REQUEST_BYTES_MAX = 4 * MIB;
export const IOT_ANALYTICS_MESSAGE_ID_LENGTH_MAX = 128;
/** BatchPutAssetPropertyValue of IoT SiteWise, and what an entry may hold. */
export const SITEWISE_ENTRIES_MAX = 10;
export const SITEWISE_VALUES_PER_ENTRY_MAX = 10;
export const SITEWISE_ENTRY_ID_LENGTH_MAX = 64;
export const SITEWISE_ALIAS_LENGTH_MAX = 2048;
export const SITEWISE_ID_LENGTH_MAX = 139;
/** More than an entry with ten of the longest values takes as JSON. */
export const SITEWISE_ENTRY_BYTES_MAX = 256 * KIB;
