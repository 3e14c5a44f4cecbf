//! From tokens to a tree, in which columns are places.

use floe_sdk::dynamic::{Schema, Type};
use floe_sdk::{Error, Result};

use crate::cast::parse_time;
use crate::scan::{Token, scan};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Decimal(i128, u8),
    Float(f64),
    Text(String),
    /// Nanoseconds since 1970.
    Time(i128),
    /// A column, then members of structs.
    Column(Vec<usize>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Of what, and is it `is not null`?
    IsNull(Box<Node>, bool),
    In(Box<Node>, Vec<Node>),
    /// `%` in the pattern stands for any text, `_` for one character.
    Like(Box<Node>, String),
    Binary(Operation, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operation {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Operation::Or => "or",
            Operation::And => "and",
            Operation::Equal => "=",
            Operation::NotEqual => "!=",
            Operation::Less => "<",
            Operation::LessOrEqual => "<=",
            Operation::Greater => ">",
            Operation::GreaterOrEqual => ">=",
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Remainder => "%",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Lower,
    Upper,
    Trim,
    Length,
    StartsWith,
    EndsWith,
    Contains,
    Concat,
    Abs,
    Coalesce,
}

/// Names, and how many arguments: `None` for one or more.
const FUNCTIONS: [(&str, Function, Option<usize>); 10] = [
    ("lower", Function::Lower, Some(1)),
    ("upper", Function::Upper, Some(1)),
    ("trim", Function::Trim, Some(1)),
    ("length", Function::Length, Some(1)),
    ("starts_with", Function::StartsWith, Some(2)),
    ("ends_with", Function::EndsWith, Some(2)),
    ("contains", Function::Contains, Some(2)),
    ("concat", Function::Concat, None),
    ("abs", Function::Abs, Some(1)),
    ("coalesce", Function::Coalesce, None),
];

impl Function {
    pub(crate) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, it, _)| *it == self).map_or("", |(name, _, _)| name)
    }
}

/// A whole text as one expression.
pub(crate) fn parse(text: &str, schema: &Schema) -> Result<Node> {
    let mut parser = Parser::new(text, schema)?;
    let node = parser.expression(0)?;
    parser.end()?;
    Ok(node)
}

/// `EXPRESSION [as NAME] [: TYPE]`.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) node: Node,
    pub(crate) name: Option<String>,
    pub(crate) ty: Option<(Type, bool)>,
}

pub(crate) fn selected(text: &str, schema: &Schema) -> Result<Selected> {
    // A type has signs of its own, so it is cut off first: behind the last colon that is in no quotes.
    let (text, ty) = match parse_selected(text) {
        (text, Some(ty)) => (text, Some(Type::parse(ty)?)),
        (text, None) => (text, None),
    };
    let mut parser = Parser::new(text, schema)?;
    let node = parser.expression(0)?;
    let mut name = None;
    if parser.take_word("as") {
        name = Some(parser.name()?);
    }
    parser.end()?;
    Ok(Selected { node, name, ty })
}

/// Cuts `… : TYPE` into what stands before the colon and the type.
pub fn parse_selected(text: &str) -> (&str, Option<&str>) {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter == ':' => return (&text[..at], Some(text[at + 1..].trim())),
            Some(_) | None => {}
        }
    }
    (text, None)
}

struct Parser<'a> {
    text: &'a str,
    schema: &'a Schema,
    tokens: Vec<Token>,
    at: usize,
}

/// Brackets and signs within one another.
const DEPTH_MAX: usize = 64;

impl<'a> Parser<'a> {
    fn new(text: &'a str, schema: &'a Schema) -> Result<Self> {
        Ok(Parser { text, schema, tokens: scan(text)?, at: 0 })
    }

    fn expression(&mut self, depth: usize) -> Result<Node> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deep"));
        }
        let mut left = self.conjunction(depth)?;
        while self.take_word("or") {
            left = binary(Operation::Or, left, self.conjunction(depth)?);
        }
        Ok(left)
    }

    fn conjunction(&mut self, depth: usize) -> Result<Node> {
        let mut left = self.negation(depth)?;
        while self.take_word("and") {
            left = binary(Operation::And, left, self.negation(depth)?);
        }
        Ok(left)
    }

    fn negation(&mut self, depth: usize) -> Result<Node> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deep"));
        }
        match self.take_word("not") {
            true => Ok(Node::Not(Box::new(self.negation(depth + 1)?))),
            false => self.comparison(depth),
        }
    }

    fn comparison(&mut self, depth: usize) -> Result<Node> {
        let left = self.sum(depth)?;
        const COMPARISONS: [(&str, Operation); 7] = [
            ("=", Operation::Equal),
            ("!=", Operation::NotEqual),
            ("<>", Operation::NotEqual),
            ("<=", Operation::LessOrEqual),
            ("<", Operation::Less),
            (">=", Operation::GreaterOrEqual),
            (">", Operation::Greater),
        ];
        for (sign, operation) in COMPARISONS {
            if self.take(sign) {
                return Ok(binary(operation, left, self.sum(depth)?));
            }
        }
        if self.take_word("is") {
            let is_not = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.wrong("\"is\" goes with null"));
            }
            return Ok(Node::IsNull(Box::new(left), is_not));
        }
        let is_not = self.take_word("not");
        let found = if self.take_word("in") {
            self.expect("(")?;
            Node::In(Box::new(left), self.list(depth)?)
        } else if self.take_word("like") {
            match self.next() {
                Some(Token::Text(pattern)) => Node::Like(Box::new(left), pattern),
                _ => return Err(self.wrong("behind \"like\" stands a text")),
            }
        } else if self.take_word("between") {
            let low = self.sum(depth)?;
            if !self.take_word("and") {
                return Err(self.wrong("\"between\" goes with \"and\""));
            }
            let high = self.sum(depth)?;
            let from = binary(Operation::GreaterOrEqual, left.clone(), low);
            binary(Operation::And, from, binary(Operation::LessOrEqual, left, high))
        } else if is_not {
            return Err(self.wrong("behind \"not\" stands in, like or between"));
        } else {
            return Ok(left);
        };
        Ok(if is_not { Node::Not(Box::new(found)) } else { found })
    }

    fn sum(&mut self, depth: usize) -> Result<Node> {
        let mut left = self.product(depth)?;
        loop {
            if self.take("+") {
                left = binary(Operation::Add, left, self.product(depth)?);
            } else if self.take("-") {
                left = binary(Operation::Subtract, left, self.product(depth)?);
            } else {
                return Ok(left);
            }
        }
    }

    fn product(&mut self, depth: usize) -> Result<Node> {
        let mut left = self.factor(depth)?;
        loop {
            if self.take("*") {
                left = binary(Operation::Multiply, left, self.factor(depth)?);
            } else if self.take("/") {
                left = binary(Operation::Divide, left, self.factor(depth)?);
            } else if self.take("%") {
                left = binary(Operation::Remainder, left, self.factor(depth)?);
            } else {
                return Ok(left);
            }
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Node> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deep"));
        }
        if self.take("-") {
            return Ok(Node::Negate(Box::new(self.factor(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.expression(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.next() {
            Some(Token::Number(text)) => self.number(&text),
            Some(Token::Text(text)) => Ok(Node::Text(text)),
            Some(Token::Quoted(name)) => self.column(&name),
            Some(Token::Word(word)) => self.word(&word, depth),
            Some(Token::Sign(_)) | None => Err(self.wrong("a value is missing")),
        }
    }

    fn word(&mut self, word: &str, depth: usize) -> Result<Node> {
        match word.to_ascii_lowercase().as_str() {
            "null" => return Ok(Node::Null),
            "true" => return Ok(Node::Bool(true)),
            "false" => return Ok(Node::Bool(false)),
            "timestamp" | "date" => {
                if let Some(Token::Text(text)) = self.peek().cloned() {
                    self.at += 1;
                    let time = parse_time(&text);
                    return time.map(Node::Time).ok_or_else(|| {
                        self.wrong(&format!("{text:?} is no time such as 2026-01-31T06:00:00Z"))
                    });
                }
            }
            _ => {}
        }
        if !self.take("(") {
            return self.column(word);
        }
        let name = word.to_ascii_lowercase();
        let Some((_, function, wanted)) = FUNCTIONS.iter().find(|(it, _, _)| *it == name) else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|(name, _, _)| *name).collect();
            let known = known.join(", ");
            return Err(self.wrong(&format!("there is no function {word:?}; known are {known}")));
        };
        let arguments = self.list(depth)?;
        match wanted.is_none_or(|it| it == arguments.len()) {
            true => Ok(Node::Call(*function, arguments)),
            false => Err(self.wrong(&format!("{name} takes {} values", wanted.unwrap_or(1)))),
        }
    }

    /// Values up to the closing bracket.
    fn list(&mut self, depth: usize) -> Result<Vec<Node>> {
        let mut items = vec![self.expression(depth + 1)?];
        while self.take(",") {
            items.push(self.expression(depth + 1)?);
        }
        self.expect(")")?;
        Ok(items)
    }

    fn column(&mut self, name: &str) -> Result<Node> {
        let mut path = vec![self.schema.index(name).map_err(|it| self.wrong(it.text()))?];
        let mut ty = &self.schema.columns[path[0]].ty;
        while self.take(".") {
            let member = self.name()?;
            let Type::Struct(inner) = ty else {
                return Err(self.wrong(&format!("{member:?} is asked of what is no struct")));
            };
            let index = inner.index(&member).map_err(|it| self.wrong(it.text()))?;
            path.push(index);
            ty = &inner.columns[index].ty;
        }
        Ok(Node::Column(path))
    }

    fn number(&self, text: &str) -> Result<Node> {
        let wrong = || self.wrong(&format!("{text} is no number"));
        if text.contains(['e', 'E']) {
            return Ok(Node::Float(text.parse().map_err(|_| wrong())?));
        }
        match text.split_once('.') {
            None => Ok(Node::Int(text.parse().map_err(|_| wrong())?)),
            Some((_, fraction)) => {
                let digits = text.replace('.', "").parse().map_err(|_| wrong())?;
                let scale = u8::try_from(fraction.len()).ok().filter(|it| *it <= 38);
                Ok(Node::Decimal(digits, scale.ok_or_else(wrong)?))
            }
        }
    }

    fn name(&mut self) -> Result<String> {
        match self.next() {
            Some(Token::Word(name) | Token::Quoted(name)) => Ok(name),
            _ => Err(self.wrong("a name is missing")),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Sign(it)) if *it == sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there =
            matches!(self.peek(), Some(Token::Word(it)) if it.eq_ignore_ascii_case(word));
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) { Ok(()) } else { Err(self.wrong(&format!("{sign:?} is missing"))) }
    }

    fn end(&self) -> Result<()> {
        if self.at >= self.tokens.len() {
            Ok(())
        } else {
            Err(self.wrong("something stands behind its end"))
        }
    }

    #[cold]
    fn wrong(&self, what: &str) -> Error {
        Error::new(format!("{what}, in the expression {:?}", self.text.trim()))
    }
}

fn binary(operation: Operation, left: Node, right: Node) -> Node {
    Node::Binary(operation, Box::new(left), Box::new(right))
}
