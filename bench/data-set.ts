import { seededRandom } from "./seeded-random.ts";

/** The messages that every bench appends: the same bytes on every machine, since the compression ratio decides the speed. */
export interface DataSet {
  readonly name: string;
  readonly messages: readonly Uint8Array[];
  readonly payloadBytes: number;
}

const SEED = 20_251_107;
const START_MS = Date.UTC(2025, 10, 7, 6);
/** Between the results of all cameras together, which come in no fixed order. */
const RESULT_INTERVAL_MS = 3;
const FRAME_WIDTH = 1280;
const FRAME_HEIGHT = 720;
/** Of 100 frames, this many show another object than the frame before. */
const NEW_TRACK_PERCENT = 5;

const models = ["yolov8n-int8", "yolov8s-int8", "defect-seg-fp16"] as const;
const labels = ["person", "forklift", "pallet", "carton", "scratch", "dent", "no_label", "ok"] as const;

interface Camera {
  readonly id: string;
  readonly model: string;
  frame: number;
  track: number;
  label: string;
  confidence: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

/**
 * Inference results of a line of cameras as JSON, 160 B on average: timestamps and frame numbers count up, boxes move from
 * frame to frame, confidences wander, and latencies are noise. `count` messages, the same for the same count.
 */
export function createInferenceDataSet(count: number): DataSet {
  const random = seededRandom(SEED);
  const pick = (from: number, to: number): number => from + Math.floor(random.fraction() * (to - from + 1));
  const cameras = Array.from({ length: 12 }, (_, index) => createCamera(index, pick));
  const encoder = new TextEncoder();
  const messages: Uint8Array[] = [];
  let payloadBytes = 0;
  for (let index = 0; index < count; index++) {
    const camera = cameras[pick(0, cameras.length - 1)]!;
    advance(camera, pick);
    const message = encoder.encode(
      JSON.stringify({
        camera: camera.id,
        model: camera.model,
        ts: START_MS + index * RESULT_INTERVAL_MS + pick(0, 9),
        frame: camera.frame,
        track: camera.track,
        label: camera.label,
        confidence: camera.confidence / 10_000,
        bbox: [camera.x, camera.y, camera.width, camera.height],
        ms: pick(70, 160) / 10,
      }),
    );
    messages.push(message);
    payloadBytes += message.length;
  }
  return { name: "inference-json", messages, payloadBytes };
}

function createCamera(index: number, pick: (from: number, to: number) => number): Camera {
  const camera = {
    id: `cam-${String(index + 1).padStart(2, "0")}`,
    model: models[index % models.length]!,
    frame: pick(100_000, 900_000),
    track: pick(1000, 9000),
    label: "",
    confidence: 0,
    x: 0,
    y: 0,
    width: 0,
    height: 0,
  };
  startTrack(camera, pick);
  return camera;
}

function startTrack(camera: Camera, pick: (from: number, to: number) => number): void {
  camera.track += 1;
  camera.label = labels[pick(0, labels.length - 1)]!;
  camera.confidence = pick(4500, 9900);
  camera.width = pick(24, 240);
  camera.height = pick(24, 240);
  camera.x = pick(0, FRAME_WIDTH - camera.width);
  camera.y = pick(0, FRAME_HEIGHT - camera.height);
}

function advance(camera: Camera, pick: (from: number, to: number) => number): void {
  camera.frame += 1;
  if (pick(1, 100) <= NEW_TRACK_PERCENT) {
    startTrack(camera, pick);
    return;
  }
  camera.confidence = clamp(camera.confidence + pick(-400, 400), 4000, 9999);
  camera.x = clamp(camera.x + pick(-24, 24), 0, FRAME_WIDTH - camera.width);
  camera.y = clamp(camera.y + pick(-12, 12), 0, FRAME_HEIGHT - camera.height);
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}
