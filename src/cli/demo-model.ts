import type { SensorKind } from "./demo-sensors.ts";

/** What the model makes of one reading. */
export interface Inference {
  /** What was scored: the value of a gauge, the change per second of a counter; null while a counter has no second value. */
  readonly input: number | null;
  readonly mean: number;
  readonly deviation: number;
  /** Deviations from the mean; 0 until the sensor has been seen often enough. */
  readonly score: number;
  readonly isAnomaly: boolean;
  readonly isWarm: boolean;
}

export interface ModelInput {
  readonly sensor: string;
  readonly kind: SensorKind;
  readonly value: number;
  readonly timeMs: number;
}

/** Weight of a new input: the model remembers about the last forty. */
const LEARNING_RATE = 0.05;
const WARM_UP_INPUTS = 30;
const ANOMALY_SCORE = 6;
/** A sensor that never moved would make any change an infinite score. */
const DEVIATION_SHARE_MIN = 0.001;
const DEVIATION_MIN = 1e-6;

interface SensorState {
  previousValue: number;
  previousTimeMs: number;
  inputCount: number;
  mean: number;
  variance: number;
}

/**
 * Scores each input of a sensor by its distance from the exponentially weighted mean, in deviations, then learns from it. The
 * same inputs in the same order give the same inferences.
 */
export class AnomalyModel {
  readonly #states = new Map<string, SensorState>();

  infer({ sensor, kind, value, timeMs }: ModelInput): Inference {
    const state = this.#states.get(sensor);
    if (state === undefined) {
      const first = { previousValue: value, previousTimeMs: timeMs, inputCount: 0, mean: 0, variance: 0 };
      this.#states.set(sensor, first);
      return kind === "gauge" ? scoreAndLearn(first, value) : unscored(first);
    }
    const input = kind === "gauge" ? value : changePerSecond(state, value, timeMs);
    state.previousValue = value;
    state.previousTimeMs = timeMs;
    return input === undefined ? unscored(state) : scoreAndLearn(state, input);
  }
}

/** Undefined when the counter has started again, or when no time has passed. */
function changePerSecond(state: SensorState, value: number, timeMs: number): number | undefined {
  const elapsedMs = timeMs - state.previousTimeMs;
  if (elapsedMs <= 0 || value < state.previousValue) return undefined;
  return ((value - state.previousValue) * 1000) / elapsedMs;
}

function unscored(state: SensorState): Inference {
  return {
    input: null,
    mean: state.mean,
    deviation: Math.sqrt(state.variance),
    score: 0,
    isAnomaly: false,
    isWarm: false,
  };
}

function scoreAndLearn(state: SensorState, input: number): Inference {
  const { mean, inputCount } = state;
  const isWarm = inputCount >= WARM_UP_INPUTS;
  const deviation = Math.sqrt(state.variance);
  const scale = Math.max(deviation, Math.abs(mean) * DEVIATION_SHARE_MIN, DEVIATION_MIN);
  const score = isWarm ? (input - mean) / scale : 0;
  state.inputCount++;
  if (inputCount === 0) {
    state.mean = input;
  } else {
    // While warming up every input counts alike, so that the first one does not linger.
    const rate = Math.max(LEARNING_RATE, 1 / (inputCount + 1));
    const step = rate * (input - mean);
    state.mean = mean + step;
    state.variance = (1 - rate) * (state.variance + step * (input - mean));
  }
  return { input, mean, deviation, score, isAnomaly: Math.abs(score) >= ANOMALY_SCORE, isWarm };
}
