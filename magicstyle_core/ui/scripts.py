"""What the browser does around events of the page."""

from __future__ import annotations

# Two tabs are two visitors. A copied tab brings its storage along, so a page asks whether another one has its token.
# One that the browser had put away, or that crashed, does not answer, and its visitor comes back.
HELLO = """async (token, query, saved) => {
  const own = () => sessionStorage.getItem('ms-token'), tabs = new BroadcastChannel('magicstyle');
  tabs.addEventListener('message', ({data}) => { if (data.whose === own()) tabs.postMessage({has: own()}); });
  const kept = own();
  const isCopy = kept !== null && await new Promise(answer => {
    tabs.addEventListener('message', ({data}) => { if (data.has === kept) answer(true); });
    tabs.postMessage({whose: kept});
    setTimeout(() => answer(false), 300);
  });
  return [isCopy ? null : kept, location.search, saved];
}"""
# A wish says when it was read off the page: requests arrive in any order.
CLOCK = "(clock, ...said) => [performance.timeOrigin + performance.now(), ...said]"
# Gradio 6.31 closes its stream when nothing is queued; what is queued in that moment is heard only once something else
# is. So when nothing was asked for a while, the page asks what there is to see; thrice, as that can go the same way.
FOLLOW = """() => { (window.msFollow || []).forEach(clearTimeout);
  const ask = () => document.querySelector('#follow').click();
  window.msFollow = [2000, 5000, 12000].map(wait => setTimeout(ask, wait)); }"""
KEEP_TOKEN = "(token) => { sessionStorage.setItem('ms-token', token); }"
