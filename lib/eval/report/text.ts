/** Numbers and text as the report writes them. */

/** 950, 1.2k, 3M, 0.031, 2e-5: short enough for an axis. */
export function compactNumber(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return '–';
  if (size >= 1e6) return `${trimZeros((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${trimZeros((value / 1e3).toPrecision(3))}k`;
  if (size >= 1000) return String(Math.round(value));
  if (size !== 0 && size < 1e-3) return Number(value.toPrecision(3)).toExponential();
  return trimZeros(value.toPrecision(3));
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** A share in [0, 1]. */
export function percent(share: number): string {
  return (100 * share).toFixed(1);
}

export function signed(points: number): string {
  return `${points >= 0 ? '+' : '−'}${Math.abs(points).toFixed(1)}`;
}

/** 5 000 */
export function grouped(value: number): string {
  return value.toLocaleString('en-US').replaceAll(',', ' ');
}

export function trimZeros(text: string): string {
  return text.includes('.') && !text.includes('e') ? text.replace(/\.?0+$/, '') : text;
}
