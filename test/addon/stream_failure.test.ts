/** What a stream does after work on it has failed: nothing more, and it says why. */
import { runModule } from '../support/addon_child.js';

test('memory that runs out inside a kernel is an error of that stream, not the end of the process', () => {
  const end = runModule(`
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + bytes + ':']);
    addon.setThreads(1); // threads that start need memory too
    const [a, b, c] = [0, 1, 2].map(() => Tensor.zeros([2048, 2048], 'f32'));
    await addon.synchronize();
    const used = 1024 * Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]);
    // Enough for small things; the packed operands of this product, the first scratch of the process, take 11 MB.
    limit(used + 4e6);
    ops.gemm({ a, b, c });
    const code = (error) => error.code;
    const codes = [
      await c.read().catch(code),
      await addon.synchronize().catch(code),
    ];
    limit('unlimited');
    try { ops.gemm({ a, b, c }); } catch (error) { codes.push(error.code); }
    console.log(JSON.stringify(codes));`);
  expect(end).toMatchObject({ status: 0, signal: null, stderr: '' });
  expect(JSON.parse(end.stdout)).toEqual(new Array(3).fill('ERR_CAPI_OUT_OF_MEMORY'));
});
