/** What MILLRACE_PROFILE takes; profiles.ts says what each means. */
export const profileNames = ["standard", "small"] as const;
export type ProfileName = (typeof profileNames)[number];
