// npm's `prepare`: builds where the compiler is installed; an install without dev dependencies uses the shipped dist/.
import { existsSync } from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
if (existsSync(path.join(root, "node_modules", "typescript"))) {
  await import("./build.mjs");
} else if (!existsSync(path.join(root, "dist"))) {
  console.error(
    "millrace: dist/ is missing and TypeScript is not installed; run `npm ci` with dev dependencies",
  );
  process.exit(1);
}
