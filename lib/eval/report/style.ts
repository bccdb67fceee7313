/** The report's style sheet: light, dark, paper and phone from one set of rules, fonts of the reader's system. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1b1c20; --soft: #5c6068; --faint: #8b8f98; --rule: #e5e2dc;
  --first: #2257c5; --second: #c8560f; --third: #0d8573; --wash: #eef2fb; --good: #14774e; --bad: #b3261e; --veil: #62666f;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  --sans: Inter, "Segoe UI", "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131418; --card: #1a1c21; --ink: #eceae5; --soft: #a9adb6; --faint: #7d828c; --rule: #2d3037;
    --first: #86adff; --second: #ff9f63; --third: #4bcdb8; --wash: #1d2434; --good: #5fd19b; --bad: #ff8a80; --veil: #50545d;
  }
}
@media print {
  :root {
    color-scheme: light;
    --page: #fff; --card: #fff; --ink: #111; --soft: #444; --faint: #777; --rule: #ddd;
    --first: #2257c5; --second: #c8560f; --third: #0d8573; --wash: #f2f4fa; --good: #14774e; --bad: #b3261e; --veil: #62666f;
  }
  .band { display: none; }
  main { padding: 0 !important; max-width: none !important; }
  body { font-size: 12px !important; }
  section { break-inside: auto; }
  h2 { break-after: avoid; }
  .chart, .tile, .picture, table { break-inside: avoid; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 var(--sans);
  font-variant-numeric: tabular-nums; -webkit-print-color-adjust: exact; print-color-adjust: exact;
}
main { max-width: 1120px; margin: 0 auto; padding: clamp(28px, 6vw, 72px) clamp(18px, 4vw, 48px) 64px; }
header .kicker {
  font-size: 12.5px; letter-spacing: .13em; text-transform: uppercase; color: var(--first); font-weight: 600; margin: 0 0 10px;
}
h1 { font: 600 clamp(30px, 5.2vw, 50px)/1.1 var(--serif); letter-spacing: -.012em; margin: 0; text-wrap: balance; }
.summary { font: 400 clamp(17px, 2.1vw, 21px)/1.5 var(--serif); color: var(--soft); max-width: 44em; margin: 18px 0 0; text-wrap: pretty; }
h2 { font: 600 26px/1.2 var(--serif); margin: 0 0 6px; letter-spacing: -.005em; }
h3 { font: 600 15px/1.3 var(--sans); margin: 0; }
section { margin-top: clamp(44px, 6vw, 68px); }
.lead { color: var(--soft); max-width: 46em; margin: 0 0 22px; text-wrap: pretty; }
a { color: var(--first); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 0 28px; margin: 34px 0 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.tile { padding: 18px 0 16px; }
.tile b { display: block; font: 600 clamp(26px, 3.4vw, 36px)/1.1 var(--serif); letter-spacing: -.01em; white-space: nowrap; }
.tile b small { font-size: .55em; font-weight: 500; color: var(--soft); margin-left: .18em; letter-spacing: 0; }
.tile span { display: block; font-size: 13.5px; font-weight: 600; margin-top: 7px; }
.tile em { display: block; font-size: 13px; font-style: normal; color: var(--soft); line-height: 1.4; margin-top: 1px; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(46%, 210px), 1fr)); gap: 14px 28px; margin: 24px 0 0; }
.facts dt { font-size: 12.5px; color: var(--faint); }
.facts dd { margin: 0; font-size: 14.5px; overflow-wrap: anywhere; }
.command { font: 13px/1.5 var(--mono); background: var(--wash); border-radius: 8px; padding: 9px 14px; margin: 24px 0 0; overflow-x: auto; white-space: pre; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); gap: 20px; }
.chart { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 16px 16px 14px; display: flex; flex-direction: column; min-width: 0; }
.chart figcaption { display: flex; justify-content: space-between; align-items: baseline; gap: 4px 14px; margin-bottom: 8px; flex-wrap: wrap; }
.values { display: flex; gap: 14px; font-size: 13px; color: var(--soft); flex-wrap: wrap; }
.values b { color: var(--ink); font-size: 15px; font-weight: 600; }
.chip { display: inline-block; width: 12px; height: 3px; border-radius: 2px; vertical-align: middle; margin-right: 6px; }
.chip.first { background: var(--first); } .chip.second { background: var(--second); } .chip.third { background: var(--third); }
.about { margin: 8px 0 0; font-size: 13px; line-height: 1.45; color: var(--soft); text-wrap: pretty; }
svg { display: block; width: 100%; height: auto; overflow: visible; font-family: var(--sans); font-variant-numeric: tabular-nums; }
svg text { fill: var(--soft); font-size: 12px; }
svg .label { fill: var(--faint); }
svg .strong { fill: var(--ink); font-weight: 650; font-size: 12.5px; }
svg .row { fill: var(--ink); font-size: 13px; }
svg .change { fill: var(--good); font-weight: 650; font-size: 13.5px; } svg .change.loss { fill: var(--bad); }
.grid { stroke: var(--rule); } .axis { stroke: var(--faint); }
.line, .raw { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.line { stroke-width: 2.1; } .raw { stroke-width: 1; opacity: .38; }
.bar { stroke-width: 4; stroke-linecap: round; opacity: .32; }
.hollow { fill: var(--card); stroke: var(--soft); stroke-width: 2; }
path.first, .bar.first { stroke: var(--first); } path.second { stroke: var(--second); } path.third { stroke: var(--third); }
.end { stroke: var(--card); stroke-width: 1.5; }
.end.first { fill: var(--first); } .end.second { fill: var(--second); } .end.third { fill: var(--third); }
.band rect { fill: transparent; } .band > g { opacity: 0; pointer-events: none; }
.band:hover > g { opacity: 1; }
.band line { stroke: var(--faint); stroke-dasharray: 2 3; }
.band text { fill: var(--ink); font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 5px; stroke-linejoin: round; }
.split { display: grid; grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); gap: 28px 44px; align-items: center; }
@media (max-width: 760px) { .split { grid-template-columns: minmax(0, 1fr); } }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th { font-weight: 600; text-align: right; font-size: 13px; color: var(--soft); padding: 0 0 8px 14px; vertical-align: bottom; line-height: 1.3; }
td { text-align: right; padding: 9px 0 9px 14px; border-top: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.chosen td { font-weight: 650; } td.gain { color: var(--good); font-weight: 650; } td.loss { color: var(--bad); font-weight: 650; }
.verdict { font-size: 14px; margin: 14px 0 0; padding: 9px 14px; border-radius: 8px; background: var(--wash); }
.verdict b { color: var(--good); } .verdict.missed b { color: var(--bad); }
.note { font-size: 13px; color: var(--soft); margin: 12px 0 0; }
.scroller { overflow-x: auto; padding-bottom: 4px; }
.strip { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(66px, 1fr); gap: 10px; max-width: calc(var(--count) * 190px); }
.strip + h3, .strip + .strip-label { margin-top: 18px; }
.strip-label { font-size: 13.5px; font-weight: 600; margin: 0 0 7px; position: sticky; left: 0; width: fit-content; }
.strip-label span { color: var(--soft); font-weight: 400; }
.picture { margin: 0; min-width: 0; }
.picture img, .picture svg { width: 100%; height: auto; display: block; border-radius: 5px; image-rendering: pixelated; overflow: hidden; background: #000; }
.picture figcaption { font-size: 12.5px; color: var(--soft); margin-top: 5px; text-align: center; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.picture image { image-rendering: pixelated; }
.veil { fill: var(--veil); opacity: .88; } .predict { fill: none; stroke: #ffb020; }
.key { display: flex; gap: 8px 22px; flex-wrap: wrap; font-size: 13px; color: var(--soft); margin: 14px 0 0; }
.key i { display: inline-block; width: 14px; height: 14px; border-radius: 3px; vertical-align: -2px; margin-right: 7px; }
.key .seen { background: linear-gradient(135deg, #5b8def, #f3b36b); } .key .hidden { background: var(--veil); } .key .asked { background: none; border: 2px solid #f0a010; }
details { border: 1px solid var(--rule); border-radius: 12px; background: var(--card); }
summary { cursor: pointer; padding: 13px 18px; font-weight: 600; font-size: 15px; }
pre { margin: 0; padding: 4px 18px 18px; font: 12.5px/1.6 var(--mono); overflow-x: auto; }
pre .k { color: var(--first); } pre .c { color: var(--faint); }
footer { margin-top: 60px; padding-top: 16px; border-top: 1px solid var(--rule); color: var(--faint); font-size: 13px; }
`;
