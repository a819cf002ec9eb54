//! Drawings of figures as SVG text: bars in groups, and curves over steps. Nothing but text is made
//! here, and nothing is measured.

use std::fmt::Write as _;

use super::figures::count;

/// Bars side by side in each group, with a line at 1.
pub(super) struct BarChart<'a> {
    pub(super) title: &'a str,
    pub(super) axis: &'a str,
    pub(super) groups: &'a [Group],
}

/// The bars of one profile.
pub(super) struct Group {
    /// Two lines below the axis.
    pub(super) label: [String; 2],
    /// The middle, the least and the most of each.
    pub(super) bars: Vec<(&'static str, [f64; 3])>,
}

/// Curves over the same steps, with a line at 1.
pub(super) struct LineChart<'a> {
    pub(super) title: &'a str,
    pub(super) axis: &'a str,
    /// What stands below the axis, at each step.
    pub(super) steps: &'a [String],
    /// The values of each curve, as many as there are steps; one that is not a number interrupts it.
    pub(super) curves: &'a [(String, Vec<f64>)],
}

/// Eight that are told apart on white, also by most who are colour-blind.
const COLOURS: [&str; 8] = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#222222",
];

const BAR_WIDTH: f64 = 16.0;
const GROUP_GAP: f64 = 26.0;
const GROUP_WIDTH_MIN: f64 = 100.0;
const STEP_WIDTH: f64 = 110.0;
const PLOT_HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 84.0;
const BELOW: f64 = 56.0;
const RIGHT: f64 = 24.0;
const LEGEND_WIDTH: f64 = 150.0;

/// A drawing under way: white, with a title, a legend and an axis.
struct Canvas {
    text: String,
    /// How wide the part within the axes is.
    width: f64,
    /// The value at the top of the axis.
    most: f64,
}

impl Canvas {
    fn new(title: &str, axis: &str, names: &[&str], width: f64, most: f64) -> Self {
        let whole = (width + LEFT + RIGHT).max(LEFT + LEGEND_WIDTH * count(names.len().min(5)));
        let height = TOP + PLOT_HEIGHT + BELOW;
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {height}\" width=\"{whole}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n<rect width=\"{whole}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        let (step, most) = scale(most);
        let mut canvas = Self { text, width, most };
        canvas.label(LEFT, 22.0, "start", 16, title);
        canvas.legend(names);
        canvas.grid(step);
        let middle = TOP + PLOT_HEIGHT / 2.0;
        canvas.add(&format!(
            "<text x=\"18\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\">{}</text>",
            escaped(axis)
        ));
        canvas
    }

    fn add(&mut self, element: &str) {
        self.text.push_str(element);
        self.text.push('\n');
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
            escaped(text)
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.add(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// Points, and the lines from each to the next.
    fn polyline<'a>(&mut self, points: impl Iterator<Item = &'a (f64, f64)>, colour: &str) {
        let mut path = String::new();
        for (x, y) in points {
            self.add(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
            ));
            // Writing into a string never fails.
            let _written = write!(path, "{x:.1},{y:.1} ");
        }
        self.add(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.trim_end()
        ));
    }

    /// Five names in a row.
    fn legend(&mut self, names: &[&str]) {
        for (at, name) in names.iter().enumerate() {
            let x = LEFT + LEGEND_WIDTH * count(at % 5);
            let y = 42.0 + 18.0 * count(at / 5);
            self.add(&format!(
                "<rect x=\"{x}\" y=\"{}\" width=\"11\" height=\"11\" fill=\"{}\"/>",
                y - 10.0,
                colour(at)
            ));
            self.label(x + 16.0, y, "start", 12, name);
        }
    }

    /// The height at which a value stands; a value that is none stands at 0.
    fn height(&self, value: f64) -> f64 {
        let value = if value.is_finite() { value } else { 0.0 };
        TOP + PLOT_HEIGHT * (1.0 - value.clamp(0.0, self.most) / self.most)
    }

    fn grid(&mut self, step: f64) {
        let right = LEFT + self.width;
        let mut value = 0.0;
        while value <= self.most + step / 2.0 {
            let y = self.height(value);
            self.line((LEFT, y), (right, y), "#dddddd", 1.0);
            let places = if step < 0.1 { 2 } else { 1 };
            self.label(LEFT - 8.0, y + 4.0, "end", 12, &format!("{value:.places$}"));
            value += step;
        }
    }

    /// Ends it, with the line at 1 above all that was drawn.
    fn finish(mut self) -> String {
        let one = self.height(1.0);
        let right = LEFT + self.width;
        self.line((LEFT, one), (right, one), "#222222", 1.5);
        self.text.push_str("</svg>\n");
        self.text
    }
}

impl BarChart<'_> {
    /// The whole file.
    pub(super) fn draw(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.groups.iter().flat_map(|group| &group.bars) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let group_width = (BAR_WIDTH * count(names.len())).max(GROUP_WIDTH_MIN) + GROUP_GAP;
        let width = group_width * count(self.groups.len());
        let most = self.groups.iter().flat_map(|group| &group.bars);
        let most = most.map(|(_, [_, _, most])| *most).fold(1.0, f64::max);
        let mut canvas = Canvas::new(self.title, self.axis, &names, width, most);
        for (at, group) in self.groups.iter().enumerate() {
            group.draw(
                &mut canvas,
                &names,
                LEFT + group_width * count(at),
                group_width,
            );
        }
        canvas.finish()
    }
}

impl Group {
    fn draw(&self, canvas: &mut Canvas, names: &[&str], left: f64, width: f64) {
        let begin = left + (width - BAR_WIDTH * count(self.bars.len())) / 2.0;
        for (at, (name, [middle, least, most])) in self.bars.iter().enumerate() {
            let place = names.iter().position(|other| other == name).unwrap_or(0);
            let x = begin + BAR_WIDTH * count(at);
            let y = canvas.height(*middle);
            canvas.add(&format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{}\" height=\"{:.1}\" fill=\"{}\"><title>{}: {middle:.3}</title></rect>",
                BAR_WIDTH - 2.0,
                TOP + PLOT_HEIGHT - y,
                colour(place),
                escaped(name)
            ));
            let centre = x + BAR_WIDTH / 2.0 - 1.0;
            let ends = (canvas.height(*least), canvas.height(*most));
            canvas.line((centre, ends.0), (centre, ends.1), "#444444", 1.0);
        }
        let centre = left + width / 2.0;
        for (row, text) in (0..).zip(&self.label) {
            let y = TOP + PLOT_HEIGHT + 18.0 + 16.0 * count(row);
            canvas.label(centre, y, "middle", 12, text);
        }
    }
}

impl LineChart<'_> {
    /// The whole file.
    pub(super) fn draw(&self) -> String {
        let names: Vec<&str> = self.curves.iter().map(|(name, _)| name.as_str()).collect();
        let values = self.curves.iter().flat_map(|(_, values)| values);
        let most = values
            .copied()
            .filter(|v| v.is_finite())
            .fold(1.0, f64::max);
        let width = STEP_WIDTH * count(self.steps.len());
        let mut canvas = Canvas::new(self.title, self.axis, &names, width, most);
        let x = |at| LEFT + STEP_WIDTH * (count(at) + 0.5);
        for (at, step) in self.steps.iter().enumerate() {
            canvas.label(x(at), TOP + PLOT_HEIGHT + 18.0, "middle", 12, step);
        }
        for (place, (_, values)) in self.curves.iter().enumerate() {
            let points = values.iter().enumerate().map(|(at, value)| {
                let is_there = value.is_finite();
                is_there.then(|| (x(at), canvas.height(*value)))
            });
            let points: Vec<_> = points.collect();
            for run in points.split(Option::is_none) {
                canvas.polyline(run.iter().flatten(), colour(place));
            }
        }
        canvas.finish()
    }
}

/// The distance of the lines of an axis that reaches this value, and where it ends.
fn scale(most: f64) -> (f64, f64) {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
    let fits = steps.into_iter().find(|step| most / step <= 10.0);
    let step = fits.unwrap_or(most / 10.0);
    (step, (most / step).ceil() * step)
}

fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
