// A chunk of its own: it is fetched when the first formula is written.
import 'katex/dist/katex.min.css';
export { default as katex } from 'katex';
