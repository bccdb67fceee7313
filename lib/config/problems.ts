/** From what a schema found to sentences a person can act on. */
import type { z } from 'zod';
import { expectedButReceived } from '../native/errors.js';
import { configSchema } from './schema.js';

export interface Problem {
  /** Dotted path of the key that is wrong. */
  readonly path: string;
  readonly message: string;
}

/** A broken rule and every key that takes part in it. */
export interface CrossProblem extends Problem {
  readonly involved: readonly string[];
}

/** One problem a path, in the order of the file's sections. */
export function schemaProblems(issues: readonly z.core.$ZodIssue[], input: unknown): Problem[] {
  const problems = new Map<string, Problem>();
  for (const issue of issues) {
    for (const problem of fromIssue(issue, input)) {
      if (!problems.has(problem.path)) problems.set(problem.path, problem);
    }
  }
  return [...problems.values()];
}

function fromIssue(issue: z.core.$ZodIssue, input: unknown): Problem[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const full = [...path, key].join('.');
      const nearest = nearestKey(path, key);
      return { path: full, message: `Unknown key ${full}${nearest ? `: did you mean ${nearest}?` : ''}` };
    });
  }
  // An element of a pair is reported as the pair: "two numbers in [0, 1)" is about both.
  while (/^\d+$/.test(path.at(-1) ?? '')) path.pop();
  const name = path.join('.') || 'the configuration';
  return [{ path: name, message: expectedButReceived(name, issue.message, valueAt(input, path)) }];
}

/** The value under a path of keys, undefined where there is none. */
export function valueAt(root: unknown, path: readonly string[]): unknown {
  let value = root;
  for (const key of path) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/** A key of the same section with nearly that name; else the same, or nearly the same, name in another section. */
export function nearestKey(section: readonly string[], key: string): string | undefined {
  const keys = knownKeys();
  const prefix = section.length === 0 ? '' : `${section.join('.')}.`;
  const siblings = keys.filter(
    (known) => known.startsWith(prefix) && !known.slice(prefix.length).includes('.'),
  );
  return closest(key, siblings) ?? closest(key, keys);
}

function closest(key: string, candidates: readonly string[]): string | undefined {
  const allowed = Math.max(1, Math.floor(key.length / 3));
  let best: { path: string; distance: number } | undefined;
  for (const path of candidates) {
    const name = path.slice(path.lastIndexOf('.') + 1);
    // A beginning of the name counts as near: batch_size is meant for batch_size_per_gpu.
    const distance = key.length >= 4 && name.startsWith(key) ? 1 : editDistance(key.toLowerCase(), name);
    if (distance <= allowed && distance < (best?.distance ?? Number.POSITIVE_INFINITY))
      best = { path, distance };
  }
  return best?.path;
}

/** Levenshtein, with a swap of two neighbours as one edit. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, at(beforeLast, j - 2) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}

/** Every dotted path of the schema, sections included. */
export function knownKeys(): string[] {
  const keys: string[] = [];
  const visit = (schema: unknown, prefix: string) => {
    const shape = shapeOf(schema);
    if (shape === undefined) return;
    for (const [key, child] of Object.entries(shape)) {
      keys.push(prefix + key);
      visit(child, `${prefix}${key}.`);
    }
  };
  visit(configSchema, '');
  return keys;
}

/** Looks through prefault, default, optional and nullable to the object within, if there is one. */
function shapeOf(schema: unknown): Record<string, unknown> | undefined {
  let inner = schema as { shape?: Record<string, unknown>; def?: { innerType?: unknown } } | undefined;
  while (inner !== undefined && inner.shape === undefined) {
    inner = inner.def?.innerType as typeof inner;
  }
  return inner?.shape;
}
