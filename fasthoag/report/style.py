"""The look of the page: colours by name for light and dark, one column on a phone."""

# Text has a contrast of 4.5 and lines one of 3 to the paper, as WCAG 2.2 asks (1.4.3, 1.4.11).
STYLE = """
:root{color-scheme:light dark;--ink:#1c2128;--soft:#57606a;--paper:#fff;--card:#f6f8fa;
--rule:#d8dee4;--good:#116329;--fair:#7d4e00;--bad:#a40e26;--blue:#0072b2;--sky:#56b4e9;
--orange:#b87800;--red:#c75300;--green:#00855f;--pink:#b0578d;--grey:#6e7781;--pale:#b6bdc6}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#a3adb8;--paper:#14181d;
--card:#1d232b;--rule:#3a434e;--good:#6fdd8b;--fair:#f0b849;--bad:#ff9492;--blue:#58aee8;
--sky:#8cd0f7;--orange:#f0b849;--red:#ff9a57;--green:#3fcf9f;--pink:#eaa5cd;--grey:#98a2ad;
--pale:#566170}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem 1rem 3rem;max-width:62rem;background:var(--paper);
color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.2;margin:.2rem 0}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
header p{margin:.3rem 0}
small,figcaption,th,.soft{color:var(--soft)}
.good{color:var(--good)}.fair{color:var(--fair)}.bad{color:var(--bad)}
.next{background:var(--card);border-left:.3rem solid var(--blue);padding:.6rem 1rem .6rem 2rem;
margin:.5rem 0;border-radius:.3rem}
.next li{margin:.35rem 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem 1.2rem .2rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--rule)}
th{font-weight:600;white-space:nowrap}
.wide td,.fields td:first-child{white-space:nowrap}
.beside{display:grid;gap:1.2rem 2rem;align-items:start;
grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
figure{margin:0;max-width:28rem}
figcaption{font-size:.88rem;margin-top:.3rem}
svg{display:block;width:100%;height:auto;overflow:visible;stroke-linejoin:round;
stroke-linecap:butt}
summary{cursor:pointer}
@media print{.next{border:1px solid}}
"""
