// Which texts and controls lie on each other, what is cut off at the side without a way to scroll there, and by how much
// the page is wider than the window.
() => {
  const shown = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.visibility === 'hidden' || style.opacity === '0' || style.display === 'none') return false;
      if (at.clientHeight < 2 && style.overflow === 'hidden') return false;  // where Gradio measures its tabs
      if (/fixed|sticky/.test(style.position) || at.matches('.viewer, svg, [hidden], .sr-only')) return false;
    }
    return true;
  };
  // What a scrolling or cutting element leaves in sight.
  const lost = new Set();
  const cut = (box, from, said) => {
    let {left, top, right, bottom} = box;
    for (let at = from; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.overflow === 'visible') continue;
      const around = at.getBoundingClientRect();
      if (/auto|scroll/.test(style.overflowX)) ({left, right} = {left: Math.max(left, around.left), right: Math.min(right, around.right)});
      else if (right > around.right + 2 && left < right && bottom > around.top && top < around.bottom && style.textOverflow !== 'ellipsis') lost.add(said.trim().slice(0, 40));
      left = Math.max(left, around.left); right = Math.min(right, around.right);
      top = Math.max(top, around.top); bottom = Math.min(bottom, around.bottom);
    }
    return {left, top, right, bottom};
  };
  const boxes = [];
  const add = (box, owner, said) => {
    const seen = cut(box, owner, said);
    if (seen.right - seen.left > 2 && seen.bottom - seen.top > 2) boxes.push({...seen, owner, said: said.trim().slice(0, 40)});
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, owner = node.parentElement;
    if (!node.textContent.trim() || !owner || /^(SCRIPT|STYLE|OPTION)$/.test(owner.tagName) || !shown(owner)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) add(box, owner, node.textContent);
  }
  for (const control of document.querySelectorAll('input:not([type=file], [type=range]), textarea, .tile img')) {
    if (shown(control) && control.getClientRects().length) add(control.getBoundingClientRect(), control, control.value || control.tagName);
  }
  const over = [];
  for (const [place, one] of boxes.entries()) for (const other of boxes.slice(place + 1)) {
    const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
    const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
    if (wide < 3 || high < 3 || one.owner === other.owner) continue;
    if (one.owner.contains(other.owner) || other.owner.contains(one.owner)) continue;
    if (one.owner.closest('.tile') && one.owner.closest('.tile') === other.owner.closest('.tile')) continue;  // drawn on its picture
    over.push([one.said, other.said]);
  }
  for (const box of boxes) if (box.right > document.documentElement.clientWidth + 1 || box.left < -1) lost.add(box.said);
  return {over: [...new Set(over.map(String))], lost: [...lost], wide: document.documentElement.scrollWidth - document.documentElement.clientWidth};
}
