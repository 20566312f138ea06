"""The style sheet of pages: light and dark, phone and paper, system fonts only."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --ink: #1b1d21; --muted: #5d636e; --line: #dcdfe4;
  --paper: #fff; --raised: #f5f6f8; --link: #0b5cad; --good: #146c3a; --bad: #b3261e;
  --c1: #0072b2; --c2: #d55e00; --c3: #00855f; --c4: #9a4d8e; --c5: #8a7000; --c6: #77808c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ec; --muted: #a3a9b3; --line: #3a3f47; --paper: #15171a; --raised: #1f2226;
    --link: #8ab8f0; --good: #67cf93; --bad: #ff9a90;
    --c1: #5cb3e8; --c2: #f5924d; --c3: #45c79c; --c4: #d893cc; --c5: #d9bd3f; --c6: #98a2af; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 0.6rem; padding-top: 0.8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p { margin: 0.5rem 0; max-width: 46rem; }
.lead { font-size: 1.05rem; }
.note, figcaption, .rule { color: var(--muted); font-size: 0.88rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 0.9rem; margin: 1rem 0; font-size: 0.9rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.warn { border-left: 4px solid var(--c2); padding: 0.4rem 0.9rem; background: var(--raised);
  max-width: 46rem; }
.plots { display: grid; gap: 1rem 1.5rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; break-inside: avoid; }
figure svg { display: block; width: 100%; max-width: 30rem; height: auto; overflow: visible; }
figure h3 { margin: 0 0 0.2rem; }
.scroll { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.28rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; color: var(--muted); }
thead th { vertical-align: bottom; white-space: normal; }
th.t, td.t { text-align: left; }
td.t { white-space: normal; min-width: 5rem; max-width: 14rem; }
td.again { color: transparent; white-space: nowrap; max-width: 5rem; overflow: hidden; }
.dense table { font-size: 0.8rem; } .dense td, .dense th { padding: 0.2rem 0.45rem; }
.dense td.t { white-space: nowrap; max-width: none; }
.narrow td small { display: block; }
td small { color: var(--muted); font-size: 0.82em; }
tbody tr:hover { background: var(--raised); }
th:first-child, td:first-child { padding-left: 0.2rem; }
.verdicts { display: grid; gap: 0.8rem; margin: 0.8rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
.verdict { border: 1px solid var(--line); border-left: 5px solid var(--muted);
  border-radius: 6px; padding: 0.7rem 0.9rem; background: var(--raised); break-inside: avoid; }
.verdict p { margin: 0.25rem 0; font-size: 0.92rem; }
.verdict strong { font-size: 1.05rem; }
.supported { border-left-color: var(--good); } .supported strong { color: var(--good); }
.contradicted { border-left-color: var(--bad); } .contradicted strong { color: var(--bad); }
.figure { font-variant-numeric: tabular-nums; }
.sample { min-width: 0; }
.glance { display: grid; gap: 0.8rem; margin: 1.2rem 0 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); }
.samples { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
.sample { border: 1px solid var(--line); border-radius: 6px; padding: 0.8rem;
  break-inside: avoid; }
.asked { display: flex; gap: 0.9rem; } .asked > div { min-width: 0; }
.task { color: var(--muted); border: 1px solid var(--line); border-radius: 1rem;
  padding: 0 0.6rem; font-size: 0.78rem; display: inline-block; }
.sample img { width: 8.5rem; flex: none; align-self: flex-start;
  image-rendering: pixelated; border-radius: 4px;
  display: block; background: var(--raised); }
.sample img.large { image-rendering: auto; }
.sample .q { font-weight: 600; margin: 0.4rem 0 0.1rem; white-space: pre-line; }
.sample .note { margin: 0 0 0.4rem; white-space: pre-line; }
.sample table { font-size: 0.82rem; width: 100%; margin-top: 0.5rem; }
.sample th { text-align: left; padding: 0.15rem 0.4rem 0.15rem 0; }
.sample td { white-space: normal; padding: 0.15rem 0.4rem 0.15rem 0; text-align: left;
  vertical-align: top; }
.sample .said { white-space: pre-line; margin: 0.1rem 0 0.7rem; }
.shown { display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 0.5rem 0; }
.shown img { width: auto; max-width: 100%; max-height: 14rem; }
.flow svg { display: block; font: 12px system-ui, sans-serif; }
.flow text { fill: var(--muted); } .flow .name { fill: var(--ink); font-weight: 600; }
.yes { color: var(--good); } .no { color: var(--bad); }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px;
  padding: 0.8rem; overflow-x: auto; font: 0.82rem/1.45 ui-monospace, monospace; }
details { margin: 0.8rem 0; } summary { cursor: pointer; color: var(--link); }
@media (max-width: 32rem) { body { font-size: 15px; padding: 1rem 0.8rem 3rem; }
  h1 { font-size: 1.45rem; }
  td small { display: block; } th, td { padding: 0.25rem 0.5rem; } }
@media print {
  :root { color-scheme: light; --ink: #000; --muted: #444; --line: #bbb; --paper: #fff;
    --raised: #fff; --link: #000; --good: #146c3a; --bad: #b3261e; --c1: #0072b2; --c2: #d55e00;
    --c3: #00855f; --c4: #9a4d8e; --c5: #8a7000; --c6: #77808c; }
  body { max-width: none; font-size: 10pt; padding: 0; } nav { display: none; }
  td.again { color: inherit; } .scroll { overflow: visible; }
  table { font-size: 7.5pt; } th, td { padding: 0.15rem 0.35rem; }
  h2 { break-after: avoid; } pre { white-space: pre-wrap; } }
"""
