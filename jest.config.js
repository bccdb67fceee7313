// Tests run as ES modules: start jest with NODE_OPTIONS=--experimental-vm-modules.
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // The interpreter of CUDA kernels has a build of its own (scripts/test_interpreter.sh).
  testPathIgnorePatterns: process.env.CAPI_TEST_BACKEND === 'cuda' ? [] : ['<rootDir>/test/interpreter/'],
  extensionsToTreatAsEsm: ['.ts'],
  // Sources import './x.js' as Node wants it; the file on disk is './x.ts'.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        // es2022 so that `using` is lowered: Node 20 does not parse it.
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'es6' },
      },
    ],
  },
  testTimeout: 60_000,
};
