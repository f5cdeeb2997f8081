//! Settings, transactions, cursors, and what clients send between uses of a connection.

use sqlparser::tokenizer::Token;

use super::ast::{
    DiscardTarget, IsolationLevel, Set, SetValue, SettingName, Statement, TransactionModes,
};
use super::cursor::Cursor;
use super::sql_cursor;
use crate::error::PlanError;

/// The statement if it is one of this module; `None`: it is none, and nothing
/// has been consumed.
pub(super) fn statement(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, PlanError> {
    let Some(word) = cursor.word(0) else { return Ok(None) };
    let statement = match word.to_ascii_uppercase().as_str() {
        "SET" => set(cursor)?,
        "RESET" => reset(cursor)?,
        "BEGIN" => {
            cursor.pos += 1;
            cursor.accept_one_of(&["WORK", "TRANSACTION"]);
            Statement::Begin { modes: transaction_modes(cursor)? }
        }
        "START" => {
            cursor.expect(&["START", "TRANSACTION"])?;
            Statement::Begin { modes: transaction_modes(cursor)? }
        }
        "COMMIT" | "END" => {
            cursor.pos += 1;
            end_of_transaction(cursor)?;
            Statement::Commit
        }
        "ABORT" => {
            cursor.pos += 1;
            end_of_transaction(cursor)?;
            Statement::Rollback
        }
        "ROLLBACK" => rollback(cursor)?,
        "SAVEPOINT" => {
            cursor.pos += 1;
            Statement::Savepoint { name: cursor.ident()? }
        }
        "RELEASE" => {
            cursor.pos += 1;
            cursor.accept(&["SAVEPOINT"]);
            Statement::ReleaseSavepoint { name: cursor.ident()? }
        }
        "DISCARD" => discard(cursor)?,
        "DEALLOCATE" => {
            cursor.pos += 1;
            cursor.accept(&["PREPARE"]);
            let all = cursor.accept(&["ALL"]);
            Statement::Deallocate { name: if all { None } else { Some(cursor.ident()?) } }
        }
        "DECLARE" => sql_cursor::declare(cursor)?,
        "FETCH" | "MOVE" => sql_cursor::fetch(cursor)?,
        "CLOSE" => sql_cursor::close(cursor)?,
        "UNLISTEN" => {
            cursor.pos += 1;
            if !cursor.accept_token(&Token::Mul) {
                cursor.ident()?;
            }
            Statement::Unlisten
        }
        _ => return Ok(None),
    };
    Ok(Some(statement))
}

fn set(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    let first = cursor.pos;
    cursor.expect(&["SET"])?;
    if cursor.accept(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        let modes = required_modes(cursor)?;
        return Ok(Statement::SetTransaction { session: true, modes });
    }
    let refused = ["ROLE", "CONSTRAINTS"].iter().any(|w| cursor.sees(&[w]))
        || cursor.sees(&["SESSION", "AUTHORIZATION"]);
    if refused {
        return Err(PlanError::unsupported(
            "SET of roles and constraints is not supported",
            cursor.text.span(first, first + 1),
        )
        .with_hint("SET name = value changes a setting."));
    }
    let local = scope(cursor);
    if cursor.accept(&["TRANSACTION"]) {
        return Ok(Statement::SetTransaction { session: false, modes: required_modes(cursor)? });
    }
    if cursor.sees(&["TIME", "ZONE"]) {
        return set_time_zone(cursor, local);
    }
    if cursor.accept(&["NAMES"]) {
        let span = cursor.text.span(cursor.pos - 1, cursor.pos);
        let name = SettingName { name: "client_encoding".to_owned(), span };
        return Ok(Statement::Set(Set { local, name, value: set_value(cursor)? }));
    }
    let name = cursor.setting_name()?;
    if !cursor.accept_token(&Token::Eq) && !cursor.accept(&["TO"]) {
        return Err(cursor.unexpected());
    }
    Ok(Statement::Set(Set { local, name, value: set_value(cursor)? }))
}

/// Whether LOCAL was said. LOCAL and SESSION may also be the setting's name.
fn scope(cursor: &mut Cursor<'_>) -> bool {
    let names_setting = cursor.token(1) == Some(&Token::Eq) || cursor.is_word(1, "TO");
    if names_setting {
        return false;
    }
    cursor.accept_one_of(&["LOCAL", "SESSION"]) == Some(0)
}

fn set_time_zone(cursor: &mut Cursor<'_>, local: bool) -> Result<Statement, PlanError> {
    let first = cursor.pos;
    cursor.expect(&["TIME", "ZONE"])?;
    let name = SettingName { name: "timezone".to_owned(), span: cursor.span_since(first) };
    let value = if cursor.accept_one_of(&["DEFAULT", "LOCAL"]).is_some() {
        SetValue::Default
    } else if cursor.sees(&["INTERVAL"]) {
        return Err(cursor.unsupported(
            "SET TIME ZONE with an interval is not supported",
            "Name the zone: SET TIME ZONE 'Europe/Berlin'.",
        ));
    } else {
        SetValue::Values(vec![one_value(cursor)?])
    };
    Ok(Statement::Set(Set { local, name, value }))
}

fn set_value(cursor: &mut Cursor<'_>) -> Result<SetValue, PlanError> {
    if cursor.accept(&["DEFAULT"]) {
        return Ok(SetValue::Default);
    }
    Ok(SetValue::Values(cursor.comma_separated(one_value)?))
}

/// A string, a number, or a word (`on` and `true` among them).
fn one_value(cursor: &mut Cursor<'_>) -> Result<String, PlanError> {
    if let Some(text) = cursor.accept_string().or_else(|| cursor.accept_number()) {
        return Ok(text);
    }
    Ok(super::fold(&cursor.any_word()?))
}

fn reset(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    cursor.expect(&["RESET"])?;
    if cursor.accept(&["ALL"]) {
        return Ok(Statement::Reset { name: None });
    }
    Ok(Statement::Reset { name: Some(shown_setting(cursor)?) })
}

/// A setting's name as SHOW and RESET take it, spelled-out names included.
pub(super) fn shown_setting(cursor: &mut Cursor<'_>) -> Result<SettingName, PlanError> {
    const SPELLED: &[(&[&str], &str)] = &[
        (&["TIME", "ZONE"], "timezone"),
        (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
        (&["SESSION", "AUTHORIZATION"], "session_authorization"),
    ];
    let first = cursor.pos;
    match SPELLED.iter().find(|(words, _)| cursor.accept(words)) {
        Some((_, name)) => {
            Ok(SettingName { name: (*name).to_owned(), span: cursor.span_since(first) })
        }
        None => cursor.setting_name(),
    }
}

fn required_modes(cursor: &mut Cursor<'_>) -> Result<TransactionModes, PlanError> {
    if cursor.at_end() {
        return Err(cursor.unexpected());
    }
    transaction_modes(cursor)
}

fn transaction_modes(cursor: &mut Cursor<'_>) -> Result<TransactionModes, PlanError> {
    let mut modes = TransactionModes::default();
    let mut after_comma = false;
    while !cursor.at_end() || after_comma {
        transaction_mode(cursor, &mut modes)?;
        after_comma = cursor.accept_token(&Token::Comma);
    }
    Ok(modes)
}

fn transaction_mode(
    cursor: &mut Cursor<'_>,
    modes: &mut TransactionModes,
) -> Result<(), PlanError> {
    const LEVELS: &[(&[&str], IsolationLevel)] = &[
        (&["READ", "UNCOMMITTED"], IsolationLevel::ReadUncommitted),
        (&["READ", "COMMITTED"], IsolationLevel::ReadCommitted),
        (&["REPEATABLE", "READ"], IsolationLevel::RepeatableRead),
        (&["SERIALIZABLE"], IsolationLevel::Serializable),
    ];
    if cursor.accept(&["ISOLATION", "LEVEL"]) {
        let level = LEVELS.iter().find(|(words, _)| cursor.accept(words));
        modes.isolation = Some(level.ok_or_else(|| cursor.unexpected())?.1);
    } else if cursor.accept(&["READ", "ONLY"]) {
        modes.read_only = Some(true);
    } else if cursor.accept(&["READ", "WRITE"]) {
        modes.read_only = Some(false);
    } else if cursor.accept(&["DEFERRABLE"]) {
        modes.deferrable = Some(true);
    } else if cursor.accept(&["NOT", "DEFERRABLE"]) {
        modes.deferrable = Some(false);
    } else {
        return Err(cursor.unexpected());
    }
    Ok(())
}

/// `[WORK | TRANSACTION] [AND NO CHAIN]`.
fn end_of_transaction(cursor: &mut Cursor<'_>) -> Result<(), PlanError> {
    if cursor.sees(&["PREPARED"]) {
        return Err(cursor
            .unsupported("prepared transactions are not supported", "Use COMMIT or ROLLBACK."));
    }
    cursor.accept_one_of(&["WORK", "TRANSACTION"]);
    if cursor.sees(&["AND", "CHAIN"]) {
        return Err(cursor.unsupported("AND CHAIN is not supported", "Send BEGIN afterwards."));
    }
    cursor.accept(&["AND", "NO", "CHAIN"]);
    Ok(())
}

fn rollback(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    cursor.expect(&["ROLLBACK"])?;
    end_of_transaction(cursor)?;
    if cursor.accept(&["TO"]) {
        cursor.accept(&["SAVEPOINT"]);
        return Ok(Statement::RollbackTo { name: cursor.ident()? });
    }
    Ok(Statement::Rollback)
}

fn discard(cursor: &mut Cursor<'_>) -> Result<Statement, PlanError> {
    const TARGETS: [&str; 5] = ["ALL", "PLANS", "SEQUENCES", "TEMP", "TEMPORARY"];
    cursor.expect(&["DISCARD"])?;
    let target = match cursor.accept_one_of(&TARGETS) {
        Some(0) => DiscardTarget::All,
        Some(1) => DiscardTarget::Plans,
        Some(2) => DiscardTarget::Sequences,
        Some(_) => DiscardTarget::Temp,
        None => return Err(cursor.unexpected()),
    };
    Ok(Statement::Discard(target))
}
