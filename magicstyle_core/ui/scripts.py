"""What the browser does around events of the page."""

from __future__ import annotations

# Two tabs are two visitors. A copied tab brings its storage along: `ms-open` says that the original is still there.
HELLO = """(token, query, saved) => {
  const copied = sessionStorage.getItem('ms-open') === '1';
  sessionStorage.setItem('ms-open', '1');
  addEventListener('pagehide', () => sessionStorage.removeItem('ms-open'));
  addEventListener('pageshow', () => sessionStorage.setItem('ms-open', '1'));
  return [copied ? null : sessionStorage.getItem('ms-token'), location.search, saved];
}"""
# A wish says when it was read off the page: requests arrive in any order.
CLOCK = "(clock, ...said) => [performance.timeOrigin + performance.now(), ...said]"
# Gradio 6.31 closes its stream when nothing is queued; what is queued in that moment is heard only once something else
# is. So when nothing was asked for a while, the page asks once more what there is to see.
FOLLOW = """() => { clearTimeout(window.msFollow);
  window.msFollow = setTimeout(() => document.querySelector('#follow').click(), 2000); }"""
KEEP_TOKEN = "(token) => { sessionStorage.setItem('ms-token', token); }"
