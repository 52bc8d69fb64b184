// npm's `prepare`: builds where the compiler is installed; an install without dev dependencies uses the shipped dist/.
import { existsSync } from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
if (existsSync(path.join(root, "node_modules", "typescript"))) {
  await import("./build.mjs");
} else {
  if (!existsSync(path.join(root, "dist"))) {
    // Not a failure: an image may install the dependencies first and add dist/ later.
    console.error("millrace: nothing was compiled: TypeScript is not installed and there is no dist/");
  }
  const { buildNative } = await import("./build-native.mjs");
  buildNative();
}
