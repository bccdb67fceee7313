/**
 * What the tests use of jest, on node:test, for a host that has Node alone: sets the globals of the process. Tells a parent
 * process (test_process.ts) of every test. With CAPI_ONLY=<text>, only tests whose file or name hold the text exist.
 */
import { basename } from 'node:path';
import { after, afterEach, before, beforeEach, describe as group, test as single } from 'node:test';
import { expect } from 'expect';
import { bind } from 'jest-each';
import type { TestMessage } from './test_process.js';

type Body = () => unknown;

const only = process.env.CAPI_ONLY ?? '';
const file = basename(process.argv[1] ?? '', '.js');
/** Of the groups that are being declared, outermost first. */
const titles: string[] = [];

function describe(title: string, declare: () => void): void {
  group(title, () => {
    titles.push(title);
    declare();
    titles.pop();
  });
}

function test(title: string, body: Body): void {
  const name = [...titles, title].join(' › ');
  if (`${file} ${name}`.includes(only)) single(name, () => told(name, body));
}

/** Runs a test between a message that it began and one of how it ended. */
async function told(name: string, body: Body): Promise<void> {
  const tell = (message: TestMessage) => process.send?.(message);
  tell({ name });
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  try {
    await body();
    tell({ name, passed: true, seconds: seconds() });
  } catch (error) {
    tell({
      name,
      passed: false,
      seconds: seconds(),
      message: error instanceof Error ? error.message : String(error),
    });
    throw error;
  }
}

Object.assign(globalThis, {
  expect,
  describe: Object.assign(describe, { each: bind(describe, false) }),
  test: Object.assign(test, { each: bind(test, false) }),
  // node:test calls with a context, which jest's hooks would take for a callback.
  beforeAll: (body: Body) => before(() => body()),
  afterAll: (body: Body) => after(() => body()),
  beforeEach: (body: Body) => beforeEach(() => body()),
  afterEach: (body: Body) => afterEach(() => body()),
});
