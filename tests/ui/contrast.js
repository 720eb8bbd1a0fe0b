// Every text that is to be seen whose contrast with what lies behind it is below WCAG 2's 4.5, or 3 for large text.
() => {
  const changing = () => document.getAnimations().filter((one) => one instanceof CSSTransition);
  for (let some; (some = changing()).length;) some.forEach((one) => one.finish()); // nobody reads between two colours
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      layers.push(rgba(getComputedStyle(one).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const weak = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement, text = node.textContent.trim();
    if (!text || element.closest('script, style, title, option, :disabled') || !element.getClientRects().length) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const front = over(rgba(element.closest('svg') ? style.fill : style.color), ground);
    const [light, dark] = [luminance(front), luminance(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const contrast = (light + 0.05) / (dark + 0.05);
    const name = `${element.tagName.toLowerCase()}.${element.className.baseVal ?? element.className}`;
    if (contrast < (large ? 3 : 4.5)) weak.add(`${contrast.toFixed(2)} ${name} "${text.slice(0, 40)}"`);
  }
  return [...weak];
}
