/** YAML text and `key=value` overrides to a validated `Config`, with every problem listed at once. */
import { readFile } from 'node:fs/promises';
import { LineCounter, parse, parseDocument } from 'yaml';
import { CapiError } from '../native/errors.js';
import { configWarnings, crossProblems } from './checks.js';
import { type CrossProblem, type Problem, schemaProblems, valueAt } from './problems.js';
import { type Config, configSchema, IGNORED_KEYS } from './schema.js';

export interface LoadedConfig {
  readonly config: Config;
  /** Advice, one sentence each; print or drop it. */
  readonly warnings: readonly string[];
  /** One line that names the keys which are set but have no meaning here. */
  readonly ignored: string | undefined;
}

type Tree = Record<string, unknown>;

/** Keys whose value is text: an override is taken as it stands, not as YAML (a folder may be called 2024). */
const TEXT_KEYS: ReadonlySet<string> = new Set([
  'train.output_dir',
  'train.resume_from',
  'data.dataset',
  'capi.teacher_weights',
]);

/**
 * Reads a file; the published defaults stand under it, the overrides over it. `origin` is what messages call the overrides,
 * which then name the one or the other as to blame.
 */
export async function loadConfig(
  path: string,
  overrides: readonly string[] = [],
  origin = 'overrides',
): Promise<LoadedConfig> {
  return parseConfig(await readText(path), overrides, path, origin);
}

/** The same from text. `name` is what messages call it. */
export function parseConfig(
  yaml: string,
  overrides: readonly string[] = [],
  name = 'config',
  origin = 'overrides',
): LoadedConfig {
  return resolveConfig(parseYaml(yaml, name), overrides, name, origin);
}

/** The same from plain data, as a program has it. */
export function resolveConfig(
  settings: unknown = {},
  overrides: readonly string[] = [],
  name = 'config',
  origin = 'overrides',
): LoadedConfig {
  if (!isTree(settings)) throw new CapiError('ERR_CAPI_INVALID_CONFIG', `${name} is not a mapping of keys`);
  const merged = structuredClone(settings);
  const problems = applyOverrides(merged, overrides);
  const { config, problems: found } = validate(merged);
  problems.push(...found);
  if (config === undefined || problems.length > 0)
    throw listed(
      problems.map((problem) => ({ ...problem, source: isOverridden(problem, overrides) ? origin : name })),
    );
  return { config, warnings: configWarnings(config), ignored: ignoredLine(merged) };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const reason =
      (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : String(cause);
    throw new CapiError('ERR_CAPI_INVALID_CONFIG', `Cannot read the configuration ${path}: ${reason}`, {
      cause,
    });
  }
}

function parseYaml(text: string, name: string): unknown {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, merge: true, prettyErrors: false });
  if (document.errors.length > 0) {
    const lines = document.errors.map((error) => {
      const { line, col } = lineCounter.linePos(error.pos[0]);
      return `line ${line}, column ${col}: ${error.message}`;
    });
    throw new CapiError('ERR_CAPI_INVALID_CONFIG', `${name} is not valid YAML\n  ${lines.join('\n  ')}`);
  }
  try {
    return document.toJS({ maxAliasCount: 1000 }) ?? {};
  } catch (cause) {
    throw new CapiError('ERR_CAPI_INVALID_CONFIG', `${name} is not valid YAML: ${String(cause)}`, { cause });
  }
}

function applyOverrides(tree: Tree, overrides: readonly string[]): Problem[] {
  const problems: Problem[] = [];
  for (const override of overrides) {
    const equals = override.indexOf('=');
    const path = override.slice(0, equals).trim();
    if (equals < 1 || path.split('.').some((part) => part === '')) {
      const hint = equals < 0 ? ` (did you mean ${override}=…?)` : '';
      problems.push({
        path: override,
        message: `Expected key=value but received ${JSON.stringify(override)}${hint}`,
      });
      continue;
    }
    set(tree, path.split('.'), overrideValue(path, override.slice(equals + 1)));
  }
  return problems;
}

function overrideValue(path: string, text: string): unknown {
  if (TEXT_KEYS.has(path)) {
    const trimmed = text.trim();
    if (trimmed === 'null') return null;
    return /^(['"]).*\1$/.test(trimmed) ? trimmed.slice(1, -1) : trimmed;
  }
  try {
    return parse(text);
  } catch {
    return text; // not YAML: let the schema say what it expected
  }
}

/** Mappings are merged into what is there, anything else replaces it. */
function set(tree: Tree, path: readonly string[], value: unknown): void {
  const [key, ...rest] = path;
  if (key === undefined) return;
  const old = Object.hasOwn(tree, key) ? tree[key] : undefined;
  if (rest.length > 0) {
    const child = isTree(old) ? old : {};
    define(tree, key, child);
    set(child, rest, value);
  } else if (isTree(old) && isTree(value)) {
    for (const [name, inner] of Object.entries(value)) set(old, [name], inner);
  } else {
    define(tree, key, value);
  }
}

/** An own property whatever its name: `__proto__` is an unknown key like any other. */
function define(tree: Tree, key: string, value: unknown): void {
  Object.defineProperty(tree, key, { value, enumerable: true, writable: true, configurable: true });
}

/**
 * Schema first, then the rules between keys. Where the schema found something, the rules still run with those keys at
 * their defaults, and only rules that none of them takes part in are reported: one reading shows everything.
 */
function validate(tree: Tree): { config?: Config; problems: Problem[] } {
  const parsed = configSchema.safeParse(tree);
  if (parsed.success) {
    const config = withoutIgnored(parsed.data);
    const problems = crossProblems(config);
    return problems.length > 0 ? { problems } : { config, problems };
  }
  const problems = schemaProblems(parsed.error.issues, tree);
  const repaired = structuredClone(tree);
  for (const { path } of problems) remove(repaired, path.split('.'));
  const second = configSchema.safeParse(repaired);
  if (second.success) {
    const wrong = problems.map((problem) => problem.path);
    const untouched = (key: string) => !wrong.some((path) => key === path || key.startsWith(`${path}.`));
    const rules = crossProblems(withoutIgnored(second.data));
    problems.push(...rules.filter((rule) => rule.involved.every(untouched)));
  }
  return { problems };
}

function remove(tree: Tree, path: readonly string[]): void {
  const parent = valueAt(tree, path.slice(0, -1));
  const key = path.at(-1);
  if (isTree(parent) && key !== undefined) delete parent[key];
}

function withoutIgnored(parsed: Tree): Config {
  const tree = structuredClone(parsed);
  for (const { path } of IGNORED_KEYS) remove(tree, path.split('.'));
  return deepFreeze(tree) as Config;
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object') {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}

/** "ignored here: launcher.* (one process), …" */
function ignoredLine(tree: Tree): string | undefined {
  const names = IGNORED_KEYS.flatMap(({ path, why }) => {
    const value = valueAt(tree, path.split('.'));
    if (value === undefined) return [];
    return [`${path}${isTree(value) ? '.*' : ''} (${why})`];
  });
  return names.length > 0 ? `ignored here: ${names.join(', ')}` : undefined;
}

/** Whether an override set the key of the problem or, where it is about several keys, one of them. */
function isOverridden(problem: Problem | CrossProblem, overrides: readonly string[]): boolean {
  const keys = [problem.path, ...('involved' in problem ? problem.involved : [])];
  return overrides.some((override) => {
    const [path = ''] = override.split('=', 1).map((part) => part.trim());
    return keys.some((key) => `${key}.`.startsWith(`${path}.`) || path.startsWith(`${key}.`));
  });
}

/** Each problem behind the name of what it is in; one name for all stands at the head alone. */
function listed(problems: readonly (Problem & { readonly source: string })[]): CapiError {
  const sources = [...new Set(problems.map(({ source }) => source))];
  const head = sources.join(' and ');
  const [first] = problems;
  const message =
    problems.length === 1 && first !== undefined
      ? `${head}: ${first.message}`
      : `${head}: ${problems.length} problems\n${problems
          .map(({ source, message }) => `  - ${sources.length > 1 ? `${source}: ` : ''}${message}`)
          .join('\n')}`;
  return new CapiError('ERR_CAPI_INVALID_CONFIG', message);
}

function isTree(value: unknown): value is Tree {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
