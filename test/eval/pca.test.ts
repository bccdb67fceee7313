// Principal components against scikit-learn's (test/fixtures/eval_sklearn.py made the numbers).
import { readFileSync } from 'node:fs';
import type { FeatureMatrix } from '../../lib/eval/features.js';
import {
  componentColours,
  componentColoursJoint,
  componentColoursPerImage,
  principalComponents,
} from '../../lib/eval/pca.js';
import { jacobiEigen, largestEigenpairs } from '../../lib/eval/symmetric_eigen.js';

interface Components {
  projected: number[][];
  explained: number[];
}

const fixture: { train: number[][]; wide: number[][]; components: Components; wide_components: Components } =
  JSON.parse(readFileSync(new URL('../fixtures/eval_sklearn.json', import.meta.url), 'utf8'));

function matrix(rows: number[][]): FeatureMatrix {
  return { data: Float64Array.from(rows.flat()), rows: rows.length, cols: rows[0]!.length };
}

describe('principal components', () => {
  it.each([
    ['more rows than columns', fixture.train, fixture.components],
    ['more columns than rows', fixture.wide, fixture.wide_components],
  ])('agree with scikit-learn for %s', (_, rows, expected) => {
    const { projected, explained } = principalComponents(matrix(rows), 3);
    expected.projected.flat().forEach((value, i) => {
      expect(projected[i]).toBeCloseTo(value, 6);
    });
    expected.explained.forEach((value, i) => {
      expect(explained[i]).toBeCloseTo(value, 8);
    });
  });

  it('are zero where nothing varies, and mid-grey as colours', () => {
    const flat = { data: new Float32Array(20).fill(3), rows: 5, cols: 4 };
    expect(principalComponents(flat, 3).projected.every((value) => value === 0)).toBe(true);
    expect([...componentColours(flat)]).toEqual(new Array(15).fill(128));
  });

  it('give one line of colours for rank-one features', () => {
    const line = { data: Float32Array.of(0, 0, 1, 2, 2, 4, 9, 18), rows: 4, cols: 2 };
    const { projected, explained } = principalComponents(line, 3);
    expect(explained[0]).toBeCloseTo(1, 9);
    for (let i = 0; i < 4; i++) expect([projected[i * 3 + 1], projected[i * 3 + 2]]).toEqual([0, 0]);
    expect(projected[9]).toBeGreaterThan(1); // positive skew: the far point is on the bright side
  });

  it('are per image or shared by all images', () => {
    const features = matrix(fixture.train); // as 2 images of 30 patches
    const [first, second] = componentColoursPerImage(features, 30);
    expect([first?.length, second?.length]).toEqual([90, 90]);
    const joint = componentColoursJoint(features, 30);
    expect(Buffer.concat(joint)).toEqual(Buffer.from(componentColours(features)));
    expect(joint[0]).not.toEqual(first);
  });
});

describe('symmetric eigenproblems', () => {
  it('solved by rotations and by power iteration agree', () => {
    const n = 40;
    const a = Float64Array.from({ length: n * n }, (_, at) => {
      const [i, j] = [Math.floor(at / n), at % n];
      return Math.cos(i * j) + Math.cos(j * i) + (i === j ? 30 / (i + 1) : 0);
    });
    const gram = new Float64Array(n * n); // positive semi-definite, as covariances are
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        for (let k = 0; k < n; k++) gram[i * n + j]! += a[i * n + k]! * a[j * n + k]!;
      }
    }
    const all = jacobiEigen(gram, n);
    const top = largestEigenpairs(gram, n, 3);
    for (let k = 0; k < 3; k++) {
      expect(top.values[k]! / all.values[k]!).toBeCloseTo(1, 9);
      let cosine = 0;
      for (let i = 0; i < n; i++) cosine += top.vectors[k * n + i]! * all.vectors[k * n + i]!;
      expect(Math.abs(cosine)).toBeCloseTo(1, 6);
    }
  });
});
