// The data of the page, as `cai.audit.page` writes it; and the elements of page.html.

type Mode = "report" | "serve" | "diff";
type Decision = "accept" | "reject" | "unsure" | "none";

interface Payload {
  mode: Mode;
  run: { name: string; id: string; kind: "build" | "rollouts" | "evaluation" | "pairs"; facts: Record<string, string> };
  note: string;
  covered: boolean;
  /** Of a diff: the two runs. */
  names: string[];
  flags: FlagMeaning[];
  principles: PrincipleValues[];
  before: PrincipleValues[];
  items: AnyItem[];
  input_frames: string[];
  verdicts: VerdictRow[];
  sample: { n: number; items: Record<string, string[]> } | null;
  signature: Signature | null;
  evaluation: EvaluationResults | null;
  map: MapValues | null;
  reasons: Record<string, string[]>;
}

/** Of an evaluation; the first model is what the others are compared with. */
interface EvaluationResults {
  models: string[];
  suites: SuiteValues[];
  measures: MeasureValues[];
  /** Value of an answer → what it is. */
  values: Record<string, string>;
  results: ResultValues[];
  changes: ChangeValues[];
  win_rates: WinRateValues[];
  preferences: PreferenceValues[];
  agreement: AgreementValues[];
  rules: RuleValues[];
  set_aside: number;
  warnings: string[];
}

/** The judge's preference for a model's reply over the first model's, 0 to 1. */
interface PreferenceValues {
  model: string;
  /** Suite and item, as `prompt_id` of its answers. */
  item: string;
  p: number;
  /** By letters: with the first model's reply shown first, and shown second. */
  p_ab: number | null;
  p_ba: number | null;
  principles: Check[];
}

interface SuiteValues {
  id: string;
  version: string;
  title: string;
  about: string;
  task: string;
  items: number;
  /** What a choice is called that counts, such as "right". */
  mark: string;
}

interface MeasureValues {
  suite: string;
  measure: string;
  title: string;
  kind: string;
  better: "higher" | "lower" | null;
  main: boolean;
  yes: string;
  no: string;
}

interface ResultValues {
  model: string;
  suite: string;
  measure: string;
  value: number | null;
  low: number | null;
  high: number | null;
  n: number;
}

interface ChangeValues {
  model: string;
  suite: string;
  measure: string;
  title: string;
  kind: string;
  before: number | null;
  after: number | null;
  change: number | null;
  low: number | null;
  high: number | null;
  n: number;
  adjusted_p: number | null;
  better: boolean | null;
}

interface IntervalValues {
  value: number;
  low: number | null;
  high: number | null;
}

interface WinRateValues {
  model: string;
  suite: string;
  n: number;
  win_rate: IntervalValues;
  length_controlled: IntervalValues | null;
}

/** How often a rule is wrong, on labelled replies of a source. */
interface RuleValues {
  rule: string;
  source: string;
  precision: number | null;
  recall: number | null;
  replies: number;
}

interface AgreementValues {
  suite: string;
  judges: string[];
  agreed: number;
  n: number;
  kappa: number | null;
  low: number | null;
  high: number | null;
}

/** How the principles of a build relate; see `cai.relations`. */
interface MapValues {
  pairs: number;
  responses: number;
  labels: number;
  /** Whether principles were drawn for each pair. */
  drawn: boolean;
  bounds: { units: number; prompts: number; clear: number };
  principles: RoleValues[];
  on_pairs: RelationValues[];
  on_responses: RelationValues[];
  contradictions: OppositionValues[];
  removals: RemovalValues[];
}

/** Null where undefined, or without an interval. */
interface EstimateValues {
  value: number | null;
  low: number | null;
  high: number | null;
  n: number;
}

/** What a principle did, and what it adds beyond the others. */
interface RoleValues {
  id: string;
  title: string;
  weight: number;
  standing: string;
  pairs: number;
  decided: number;
  responses: number;
  problems: number;
  critiques: number;
  found: number;
  prompts: number;
  same: string[];
  labels_changed: EstimateValues | null;
  labels_flipped: number | null;
  changed_records: string[] | null;
  pairs_r2: EstimateValues | null;
  responses_r2: EstimateValues | null;
}

interface RelationValues {
  a: string;
  b: string;
  word: string;
  units: number;
  prompts: number;
  agree: EstimateValues;
  kappa: EstimateValues;
  correlation: EstimateValues;
  contradict: EstimateValues;
}

/** Two principles that contradict each other on `count` pairs; `items` are the clearest. */
interface OppositionValues {
  a: string;
  b: string;
  share: EstimateValues;
  count: number;
  items: ContradictionValues[];
}

interface ContradictionValues {
  record: string;
  prompt: string;
  p_a: number;
  p_b: number;
  label: number;
}

interface RemovalValues {
  principle: string;
  changed: EstimateValues;
  held_out: EstimateValues;
}

interface Signature {
  signer: string;
  at: string;
}

interface FlagMeaning {
  code: string;
  name: string;
  meaning: string;
  weight: number;
}

interface PrincipleValues {
  id: string;
  version: string | null;
  title: string | null;
  why: string | null;
  source: string | null;
  tags: string[] | null;
  weight: number | null;
  critique_request: string | null;
  revision_request: string | null;
  comparison_question: string | null;
  /** The chance to be drawn in a first round; null where nothing is drawn. */
  share: number | null;
}

type RequestName = "critique_request" | "revision_request" | "comparison_question";

/** What all items have; `traits` and `text` are added by the page. */
interface ItemValues {
  n: number;
  key: string;
  id: string;
  prompt_id: string;
  source: string;
  prompt: { role: string; content: string }[];
  principles: string[];
  flags: string[];
  doubt: number;
  traits: Record<string, string[]>;
  /** All texts in lower case, for search; see `Run.fold`. */
  text: string;
}

interface RunItemValues extends ItemValues {
  by_round: string[][];
  /** File name and row id. */
  rows: [string, string][];
  left_out: string[];
  words: [number, number] | null;
  /** Part → number of a frame, then the numbers of the item's texts that stand in it. */
  inputs: Record<string, number[]>;
}

interface GeneratedText {
  text: string;
  tokens?: number;
  cut: boolean;
  reasoning?: string;
  /** Of a revision: all of it, where an announcement was removed. */
  written?: string;
}

interface Round {
  principle: string;
  version: string;
  critique: GeneratedText | null;
  found: boolean;
  outcome: string | null;
  revision: GeneratedText | null;
  guards: string[];
}

interface Check {
  principle: string;
  p: number;
}

interface JudgementValues {
  principle: string;
  version: string;
  p: number;
  swapped: number | null;
  flipped: boolean;
  mass: number;
  reasoning: string[];
}

interface TraceItem extends RunItemValues {
  kind: "trace";
  words: [number, number];
  response: GeneratedText;
  rounds: Round[];
  checks: Check[];
  /** What a guard sent in the place of the final response. */
  withheld?: { text: string; reason: string };
  /** Of a document: the principle that it explains, and whether its writer read the reason. */
  explained?: { principle: string; version: string; kind: string; why: boolean; guards: string[] };
}

interface ComparisonItem extends RunItemValues {
  kind: "comparison";
  responses: [GeneratedText, GeneratedText];
  mode: string;
  probability: number;
  p_ab: number | null;
  p_ba: number | null;
  mass: number | null;
  spread: number;
  judgements: JudgementValues[];
  /** Of a pair whose label is by construction: the principle, and the user's last turn of each side. */
  contrast?: { principle: string; version: string; asked: [string, string]; guards: string[] };
}

/** A part of a rollout's score: it adds (value − mean) · weight. `p`: of a principle, "no problem". */
interface ScorePartValues {
  name: string;
  principle: string;
  value: number;
  mean?: number;
  weight: number;
  adds: number;
  p: number | null;
}

interface RolloutItem extends RunItemValues {
  kind: "rollout";
  update: number;
  response: GeneratedText;
  score: number;
  /** Of RLOO and GRPO: the reward beside those of the prompt's other responses. */
  advantage?: number;
  parts?: ScorePartValues[];
  /** What the teacher read, in distillation. */
  lesson?: { principle: string; critique: string; found: boolean; taught: boolean };
  kl: number;
  second_reward: number | null;
}

interface ChoiceValues {
  text: string;
  p: number;
  right: boolean;
}

/** A model's answer to an item of a suite. */
interface AnswerItem extends RunItemValues {
  kind: "answer";
  model: string;
  suite: string;
  task: string;
  type: string;
  response: GeneratedText;
  measured: Record<string, number | null>;
  choices: ChoiceValues[];
  checks: Check[];
  /** Whether it is good by the measure `by`; null where that is not yes or no. */
  good: boolean | null;
  by: string;
  /** Whether the judge finds no principle broken. */
  judged: boolean | null;
}

/** The same record of two runs. */
interface PairItem extends ItemValues {
  kind: "pair";
  same: boolean;
  a: TraceItem | ComparisonItem;
  b: TraceItem | ComparisonItem;
}

type RunItem = TraceItem | ComparisonItem | RolloutItem | AnswerItem;
type AnyItem = RunItem | PairItem;

/** A line of `audit/verdicts.jsonl`. */
interface VerdictRow {
  item: string;
  record: string;
  run: string;
  verdict: Decision;
  author: string;
  at: string;
  flagged: boolean;
  reason: string;
  /** Rows of earlier versions have none. */
  reasons?: string[];
}

type VerdictChanges = Partial<Pick<VerdictRow, "verdict" | "flagged" | "reason" | "reasons">>;

/** The server's answer to verdicts, to a question for new ones, or to a signature. */
interface ServerAnswer {
  kept?: number;
  refused?: [number, string][];
  rows?: VerdictRow[];
  next?: number;
  error?: string;
  hint?: string | null;
  signer?: string;
  at?: string;
  path?: string;
}

/** A piece of a word diff: the same in both, only before, only after. */
type Piece = ["=" | "-" | "+", string];

type Child = Node | string | number | false | null | undefined | Child[];
type Attribute = string | number | boolean | null | undefined | ((event: any) => unknown);
type Attributes = Record<string, Attribute>;

interface PageElements {
  name: HTMLElement;
  "tab-overview": HTMLButtonElement;
  "tab-read": HTMLButtonElement;
  search: HTMLInputElement;
  progress: HTMLElement;
  cover: HTMLButtonElement;
  theme: HTMLButtonElement;
  menu: HTMLButtonElement;
  help: HTMLButtonElement;
  notice: HTMLElement;
  overview: HTMLElement;
  read: HTMLElement;
  facets: HTMLElement;
  filters: HTMLButtonElement;
  count: HTMLElement;
  sort: HTMLSelectElement;
  list: HTMLElement;
  reader: HTMLElement;
  dialog: HTMLDialogElement;
  "dialog-title": HTMLElement;
  data: HTMLScriptElement;
  spoken: HTMLElement;
  skip: HTMLAnchorElement;
  /** In a dialog, while it is open. */
  export: HTMLButtonElement | null;
}

/** The class of 2-data.js has all that came with the page. */
interface Run extends Payload {}

interface TextOptions {
  /** What stands in the frame; the text itself where there is none. */
  nodes?: Child;
  tone?: string;
  notes?: string[];
}

/** What a run did, in numbers. */
interface Tally {
  traces: number;
  critiques: number;
  found: number;
  changed: number;
  before: number;
  after: number;
  judged: number;
  both: number;
  flips: number;
  ties: number;
  flagged: number;
}

/** What was done under a principle. */
interface PrincipleTally {
  contrasted: number;
  asked: number;
  found: number;
  changed: number;
  flags: number;
  judged: number;
  both: number;
  flipped: number;
  accept: number;
  decided: number;
}
